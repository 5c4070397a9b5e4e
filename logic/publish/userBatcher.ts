import { encodeUserPush, type UserEntry, userEntrySize } from '@pushcluster/protocol/push.ts';
import type { Message, MessagePublisher } from './messagePublisher.ts';
import type { MessageSplitter } from './messageSplitter.ts';

/** Pushes to users wait this long for others, milliseconds: every gateway reads each message to users. */
const WINDOW_MS = 2;
/** Bytes of the number of entries, before the first of them. */
const COUNT_BYTES = 4;
/** Most users named in one message: a gateway's hub looks all of them up in one go, 1 to 2 µs each. */
const MAX_USERS = 4_096;

type Batch = { entries: UserEntry[]; users: number; size: number } & PromiseWithResolvers<void>;

/** Collects the pushes to users of a few milliseconds in one message. */
export class UserBatcher {
  readonly #messages: MessagePublisher;
  readonly #subject: string;
  readonly #splitter: MessageSplitter;
  #batch: Batch | undefined;

  constructor(messages: MessagePublisher, subject: string, splitter: MessageSplitter) {
    this.#messages = messages;
    this.#subject = subject;
    this.#splitter = splitter;
  }

  /** Adds `entry` to the batch of these milliseconds. Resolves and rejects as MessagePublisher.publish does. */
  add(entry: UserEntry): Promise<void> {
    const size = userEntrySize(entry);
    const users = entry.users.length;
    if (this.#batch && !this.#fits(this.#batch, users, size)) this.#send(this.#batch);
    if (!this.#batch) {
      const batch: Batch = { entries: [], users: 0, size: COUNT_BYTES, ...Promise.withResolvers<void>() };
      setTimeout(() => this.#send(batch), WINDOW_MS);
      this.#batch = batch;
    }
    this.#batch.entries.push(entry);
    this.#batch.users += users;
    this.#batch.size += size;
    return this.#batch.promise;
  }

  #fits(batch: Batch, users: number, size: number): boolean {
    return batch.size + size <= this.#splitter.bodyBytes && batch.users + users <= MAX_USERS;
  }

  #send(batch: Batch) {
    // Its timer may come after it was sent because it was full.
    if (this.#batch !== batch) return;
    this.#batch = undefined;
    const { entries } = batch;
    const message: Message = {
      itemCount: entries.reduce((sum, { items }) => sum + items.lengths.length, 0),
      retriable: entries.some(({ id }) => id !== ''),
      encode: (numbering) =>
        encodeUserPush({ ...numbering, urgent: entries.some(({ urgent }) => urgent), id: '', entries }),
    };
    this.#messages.publish(this.#subject, [message]).then(batch.resolve, batch.reject);
  }
}
