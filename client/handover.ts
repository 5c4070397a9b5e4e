import type { ServerFrame } from '@pushcluster/protocol/frames.ts';
import type { Connection } from './connection.ts';

/** What a gateway sends to a stream. */
export type Delivery = Extract<ServerFrame, { type: 'PUSH' | 'LAGGED' }>;

type Held = [frame: Delivery, at: number];
type Source = { readyAt: number; held: Held[] };

/** Later than any time. */
export const NEVER = 1 / 0;

/**
 * The hand-over of one stream from connection to connection (make before break). Connections serve in the order in which
 * they were added: frames of the first are delivered, and frames of the others are held until the first is removed.
 * Times in milliseconds, by the clock's `now`.
 */
export class Handover {
  readonly #deliver: (frame: Delivery, at: number) => void;
  readonly #serve: () => void;
  /** In the order in which they were added. */
  readonly #sources = new Map<Connection, Source>();

  /**
   * @param deliver takes the frames, in order, and when each came
   * @param serve called when the connection that serves is ready; may be called again
   */
  constructor(deliver: (frame: Delivery, at: number) => void, serve: () => void) {
    this.#deliver = deliver;
    this.#serve = serve;
  }

  get connections(): Connection[] {
    return [...this.#sources.keys()];
  }

  add(connection: Connection): void {
    this.#sources.set(connection, { readyAt: NEVER, held: [] });
  }

  /** Time from which `connection` receives everything that is pushed, by the clock's `now`; Infinity: it is not ready. */
  readyAt(connection: Connection): number {
    return this.#sources.get(connection)?.readyAt ?? NEVER;
  }

  /** What is pushed from now on comes by `connection`, or (`isReady` false) perhaps not. */
  setReady(connection: Connection, isReady: boolean): void {
    const source = this.#sources.get(connection);
    if (source) source.readyAt = isReady ? connection.now() : NEVER;
    this.#tellReady();
  }

  /**
   * Delivers or holds a frame that came by `connection`. A frame of a connection that was not added, or was removed, is
   * dropped. @returns how many items are held, where a frame without items counts as one
   */
  receive(connection: Connection, frame: Delivery): number {
    const source = this.#sources.get(connection);
    const at = connection.now();
    if (connection === this.connections[0]) this.#deliver(frame, at);
    else if (source) {
      source.held.push([frame, at]);
      // The connections before it bring what it missed, in their time. What a room's policy dropped they drop too.
      if (frame.type === 'LAGGED' && frame.data.reason !== 'overload' && source.readyAt < NEVER) source.readyAt = at;
      return itemsOf(frame);
    }
    return 0;
  }

  /** `connection` brings nothing more. If it served, the next one does, and what that brought is delivered. */
  remove(connection: Connection): void {
    this.#sources.delete(connection);
    const [serving] = this.#sources.values();
    for (const held of serving?.held.splice(0) ?? []) this.#deliver(...held);
    this.#tellReady();
  }

  /** Goes on holding only those frames of `connection` that are `wanted`. @returns how many items they have */
  keep(connection: Connection, wanted: (frame: Delivery) => boolean): number {
    const source = this.#sources.get(connection);
    if (!source) return 0;
    source.held = source.held.filter(([frame]) => wanted(frame));
    return source.held.reduce((sum, [frame]) => sum + itemsOf(frame), 0);
  }

  /** When the oldest frame that is held of `connection` came; Infinity: none is held. */
  heldSince(connection: Connection): number {
    return this.#sources.get(connection)?.held[0]?.[1] ?? NEVER;
  }

  /** Drops the oldest frame that is held of `connection`. @returns how many items it had */
  dropOldest(connection: Connection): number {
    return itemsOf(this.#sources.get(connection)!.held.shift()![0]);
  }

  /** The stream has ended: forgets connections and held frames. */
  release(): void {
    this.#sources.clear();
  }

  #tellReady() {
    const [serving] = this.connections;
    if (serving && this.readyAt(serving) < NEVER) this.#serve();
  }
}

function itemsOf(frame: Delivery): number {
  return frame.type === 'PUSH' ? Math.max(1, frame.data.items.length) : 1;
}
