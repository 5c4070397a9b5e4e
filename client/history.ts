import type { Position, ServerFrame } from '@pushcluster/protocol/frames.ts';
import type { Connection } from './connection.ts';
import { SAVE_DELAY } from './limits.ts';
import { isPosition } from './serverFrame.ts';
import type { JoinOptions, PositionStorage, ResetReason, RoomEvents, RoomPosition } from './stream.ts';
import { type StreamConfig, Subscription } from './subscription.ts';

type Push = Extract<ServerFrame, { type: 'PUSH' }>['data'];
type Reset = Extract<ServerFrame, { type: 'RESET' }>['data'];
type Answer = Extract<ServerFrame, { type: 'OK' }>['data'];

/**
 * A stream with a place in the history of its room, if that has one. One connection at a time brings what is pushed: the
 * last on which a JOIN was answered with a place. Only what follows on the place is delivered.
 */
export abstract class HistorySubscription extends Subscription {
  /** The connection that brings what follows. Until there is one it is the connection that serves. */
  source: Connection | undefined;
  /** How often it was joined again since something followed on. */
  tries = 0;
  /** Replaced, never changed, and before anything is told. */
  #position: Position | undefined;
  /** How many pushes are asked for, and where an earlier subscription of the room was: until there is a position. */
  #last: number | null | undefined;
  #former: Position | undefined;
  /** When nothing was missing up to the position: by the clock's `now`, and by its wall. Empty: not known. */
  #current: { heardAt?: number | undefined; heardWall?: number | undefined } = {};
  /**
   * What was missed after `since` is on its way, and ends at the seq `until`: then the room is at `place`, since what was
   * pushed last may have expired. What comes first may say that it follows on something before `since`, for the same reason.
   */
  #missing: { since: Position | undefined; until: number; place: Position } | undefined;
  /** The next frame of the source may follow on this number, although it is before the position: the source is behind. */
  #behind: number | undefined;
  #missed = 0;
  readonly #storage: PositionStorage | null | undefined;
  /** Cancels the next save(). */
  #unsaved: (() => void) | undefined;

  constructor(
    name: string,
    config: StreamConfig,
    former: HistorySubscription | undefined,
    { since, last, storage }: JoinOptions,
  ) {
    super(name, config, true, former);
    this.#last = last;
    this.#former = former?.position;
    this.#storage = storage;
    const from = since ?? (storage && this.#stored());
    if (!from) return;
    const { epoch, seq, at } = from;
    this.#position = { epoch, seq };
    this.#current = { heardAt: 1 / 0, heardWall: at };
  }

  /** Joins again on `connection`. @param failures of doing so, which make it wait */
  abstract rejoin(connection: Connection, failures: number): void;

  override get position(): RoomPosition | undefined {
    return this.#position && { ...this.#position, at: this.#current.heardWall };
  }

  /** What a JOIN on `connection` says. */
  request(connection: Connection): { since?: Position; away?: number | undefined; last?: number | undefined } {
    const since = this.#position;
    if (!since) return { last: this.#last ?? undefined };
    const { heardAt, heardWall } = this.#current;
    // A monotonic clock may stand still while the machine sleeps, and the other one may be set.
    const away = Math.max(connection.now() - heardAt!, connection.wall() - heardWall!);
    return { since, away: away >= 0 && away < 1 / 0 ? away : undefined };
  }

  /** A JOIN that said `since` was answered. @returns whether to ask again: it tells of a place that the room has left */
  answered(connection: Connection, answer: Answer, since: Position | undefined): true | undefined {
    const { epoch, seq = 0, recovered, replayTo = seq } = answer;
    // Another connection serves the room without its history. What this one brings is held back.
    if (!connection.serves && !(epoch && since)) return;
    this.admit(connection);
    const place = epoch ? { epoch, seq } : undefined;
    if (place && recovered && (this.#position ?? place).epoch === epoch) {
      this.source = connection;
      this.#missing = { since, until: replayTo, place };
    } else if (since !== this.#position) return true;
    else {
      const former = this.#former;
      const isBehind = place && former?.epoch === epoch && former!.seq > seq;
      this.restart(place && connection, isBehind ? former : place, 'unrecovered', connection);
    }
    this.#catchUp(connection);
  }

  /** A PUSH or RESET with a place. @returns whether it is dealt with: otherwise it is held back */
  follow(connection: Connection, frame: Push | Reset): boolean {
    const { epoch, seq, prev = seq, items, ids } = frame as Push & Position;
    if (this.source ? this.source !== connection : !connection.serves) return Boolean(this.source);
    if (!items || (this.#position ?? frame).epoch !== epoch) this.restart(connection, { epoch, seq: prev }, 'reset');
    const position = this.#position;
    const missing = this.#missing;
    const from = position?.seq ?? prev;
    if (!items || seq <= from) return true;
    if (
      prev === from ||
      prev === this.#behind ||
      (missing?.since === position && prev < from && seq <= missing!.until)
    ) {
      this.source = connection;
      this.#move({ epoch, seq });
      this.#missed += items.length;
      this.tries = 0;
      this.take({ items, ids }, connection.now(), position ?? missing, missing);
      this.#catchUp(connection);
    } else {
      this.#current = {};
      this.rejoin(connection, this.tries);
    }
    return true;
  }

  /** What is heard from now on says nothing about the room. */
  pause(): void {
    const { heardAt, heardWall } = this.#current;
    this.#current = { heardAt, heardWall };
  }

  /** `source` brings what follows on `position`, which does not follow on what came before. */
  restart(source: Connection | undefined, position: Position | undefined, reason: ResetReason, by = source): void {
    const known = this.#position;
    this.source = source;
    this.#current = source ?? {};
    this.#move(position);
    this.#missing = undefined;
    if (known) this.#tell(by, 'reset', { reason });
  }

  /** Stores the position. It is where the page was: items are emitted in one go, and this is never called among them. */
  save(): void {
    this.#unsaved?.();
    this.#unsaved = undefined;
    try {
      settled(this.#storage?.setItem(`pushcluster.${this.name}`, JSON.stringify(this.position) ?? ''));
    } catch {}
  }

  #stored(): RoomPosition | undefined {
    try {
      const position = JSON.parse(settled(this.#storage!.getItem(`pushcluster.${this.name}`))!);
      if (isPosition(position)) return position;
    } catch {}
    return undefined;
  }

  #move(position: Position | undefined) {
    this.#position = position;
    this.#last = this.#former = this.#behind = undefined;
    if (this.#storage) this.#unsaved ??= this.config.clock.after(SAVE_DELAY, () => this.save());
  }

  #catchUp(connection: Connection) {
    const missing = this.#missing;
    const at = this.#position?.seq ?? 0;
    if (missing && missing.until > at) return;
    const items = this.#missed;
    this.#missed = 0;
    this.#missing = undefined;
    this.#current = connection;
    if (!missing) return;
    // Unless another connection has brought more meanwhile.
    const { until, place } = missing;
    if (until === at) {
      if (place.seq < at) this.#behind = place.seq;
      else this.#move(place);
    }
    this.#tell(connection, 'resumed', { items });
  }

  #tell<Name extends 'resumed' | 'reset'>(
    connection: Connection | undefined,
    name: Name,
    event: RoomEvents<unknown>[Name],
  ) {
    const tell = () => this.emit(name, event);
    connection?.turn?.then(tell) ?? tell();
  }
}

/** A storage that answers later keeps nothing: what becomes of its promise is not told. */
export function settled<Value>(value: Value): Value {
  Promise.resolve(value).catch(() => {});
  return value;
}
