import { createWriteStream, type WriteStream } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What publishers, clients and the nemesis did and saw. `t`: milliseconds since the run began, by one clock. */
export type Event =
  /** A room of the run that has no history. */
  | { type: 'room without history'; t: number; room: string }
  /** A publisher begins to push an item, which has a text of its own. */
  | { type: 'attempt'; t: number; room: string; item: string }
  /**
   * How that ended: stored at a position; certainly not stored; or unknown. A publisher tries again with the same id
   * until it is stored, so that there is one for each item.
   */
  | { type: 'acked'; t: number; room: string; item: string; epoch: string; seq: number }
  | { type: 'refused' | 'unknown'; t: number; room: string; item: string }
  /** The same of a room without history: received by NATS. `via`: address of the logic process that said so. */
  | { type: 'accepted'; t: number; room: string; item: string; via: string }
  /**
   * A client's JOIN was answered for the first time. A client that does not resume is another one after each reconnect:
   * `page#0`, `page#1` and so on, of one family `page`. `at`: address of the gateway.
   */
  | { type: 'joined'; t: number; client: string; room: string; form?: Form; at?: string }
  /** The connection of a client that does not resume goes on at another gateway: it was moved. */
  | { type: 'moved'; t: number; client: string; room: string }
  /** The connection of a client that does not resume has ended. */
  | { type: 'closed'; t: number; client: string; room: string }
  /** A client got an item. `by`: name of the publisher that numbered it, where the client knows. */
  | { type: 'item'; t: number; client: string; room: string; item: string; by?: string }
  /** A client was told that its room goes on after a place, not where it was; or that so many items are missing. */
  | { type: 'reset'; t: number; client: string; room: string; reason: string; epoch: string; seq: number }
  | { type: 'told'; t: number; client: string; room: string; what: 'lagged' | 'gap'; items: number }
  /** What the history has of a room when all is over. */
  | { type: 'stored'; t: number; room: string; epoch: string; seq: number; items: string[] }
  | { type: 'fault'; t: number; name: string }
  /** The store begins to lose what it has: its stream is deleted, or an old copy is put in its place. */
  | { type: 'break'; t: number };

/** What a client speaks. Those that know nothing of this project (`go-push`) are told of no losses. */
export type Form = 'sdk' | 'v1' | 'go-push';

type Untimed<E> = E extends Event ? Omit<E, 't'> : never;

/** Where events go. */
export type Book = Pick<Recorder, 'add'>;

/** Keeps events as JSON lines in a file of its own. */
export class Recorder {
  readonly #began: number;
  readonly #file: WriteStream;

  /** @param began `performance.now()` at the beginning of the run */
  constructor(folder: string, actor: string, began: number) {
    this.#began = began;
    this.#file = createWriteStream(join(folder, `${actor}.jsonl`));
  }

  add(event: Untimed<Event>): void {
    this.#file.write(`${JSON.stringify({ t: Math.round(performance.now() - this.#began), ...event })}\n`);
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.#file.end(() => resolve()));
  }
}

/** All events of a run, in the order of time. */
export async function readEvents(folder: string): Promise<Event[]> {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.jsonl'));
  const texts = await Promise.all(files.map((name) => readFile(join(folder, name), 'utf8')));
  const events = texts.flatMap((text) =>
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Event),
  );
  return events.sort((a, b) => a.t - b.t);
}
