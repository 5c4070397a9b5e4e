import { createWriteStream, type WriteStream } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What publishers, clients and the nemesis did and saw. `t`: milliseconds since the run began, by one clock. */
export type Event =
  /** A publisher begins to push an item, which has a text of its own. */
  | { type: 'attempt'; t: number; room: string; item: string }
  /**
   * How that ended: stored at a position; certainly not stored; or unknown. A publisher tries again with the same id
   * until it is stored, so that there is one for each item.
   */
  | { type: 'acked'; t: number; room: string; item: string; epoch: string; seq: number }
  | { type: 'refused' | 'unknown'; t: number; room: string; item: string }
  /** A client's JOIN was answered for the first time. */
  | { type: 'joined'; t: number; client: string; room: string }
  /** A client got an item. */
  | { type: 'item'; t: number; client: string; room: string; item: string }
  /** A client was told that its room did not go on where it was, or that items are missing. */
  | { type: 'reset'; t: number; client: string; room: string; reason: string }
  | { type: 'told'; t: number; client: string; what: string }
  /** What the history has of a room when all is over. */
  | { type: 'stored'; t: number; room: string; epoch: string; seq: number; items: string[] }
  | { type: 'fault'; t: number; name: string };

type Untimed<E> = E extends Event ? Omit<E, 't'> : never;

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
