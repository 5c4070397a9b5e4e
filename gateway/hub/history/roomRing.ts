/** Bytes of messages that the ring of one room holds at most. */
const MAX_ROOM_BYTES = 524_288;
/** Bytes that the rings of a gateway hold at most, all rooms together. */
const MAX_BYTES = 67_108_864;
/** Bytes of memory that a message takes beside its own, about. */
const MESSAGE_BYTES = 128;

/** A message as it was taken: its number, when that was (milliseconds of the hub's clock), and the bus message. */
export type Stored = { seq: number; at: number; bytes: Uint8Array };

/** The memory of all rings of a gateway. */
export class RingBudget {
  bytes = 0;
  readonly max: number;

  constructor(max = MAX_BYTES) {
    this.max = max;
  }

  get exceeded(): boolean {
    return this.bytes > this.max;
  }
}

/** The last messages of a room, so that clients that come back need not be served by the store. */
export class RoomRing {
  readonly #budget: RingBudget;
  #messages: Stored[] = [];
  #bytes = 0;
  #floor: number;

  /** @param floor number of the last message before the first that is added */
  constructor(budget: RingBudget, floor: number) {
    this.#budget = budget;
    this.#floor = floor;
  }

  /** All messages of the room with a larger number are here. */
  get floor(): number {
    return this.#floor;
  }

  /** @param limit messages at most */
  add({ seq, at, bytes }: Stored, limit: number): void {
    // A copy: `bytes` is a part of all that the bus has brought with it.
    const stored = { seq, at, bytes: Buffer.from(bytes) };
    this.#messages.push(stored);
    this.#grow(sizeOf(stored));
    let gone = Math.max(0, this.#messages.length - limit);
    for (let i = 0; i < gone; i++) this.#grow(-sizeOf(this.#messages[i]!));
    while (gone < this.#messages.length && (this.#bytes > MAX_ROOM_BYTES || this.#budget.exceeded))
      this.#grow(-sizeOf(this.#messages[gone++]!));
    if (gone === 0) return;
    this.#floor = this.#messages[gone - 1]!.seq;
    this.#messages.splice(0, gone);
  }

  /**
   * Adds what was read from the store, as far as there is room for it. @param older all messages between `floor` and the
   * ring's own floor
   */
  extend(older: readonly Stored[], floor: number, limit: number): void {
    let first = older.length;
    for (; first > 0 && this.#messages.length + older.length - first < limit; first--) {
      const size = sizeOf(older[first - 1]!);
      if (this.#bytes + size > MAX_ROOM_BYTES || this.#budget.bytes + size > this.#budget.max) break;
      this.#grow(size);
    }
    const kept = older.slice(first).map(({ seq, at, bytes }) => ({ seq, at, bytes: Buffer.from(bytes) }));
    this.#messages.unshift(...kept);
    this.#floor = first === 0 ? floor : older[first - 1]!.seq;
  }

  /** Messages after `after` up to `upTo`, both numbers that the ring reaches. */
  between(after: number, upTo: number): Stored[] {
    return this.#messages.filter(({ seq }) => seq > after && seq <= upTo);
  }

  /** Forgets everything. @param floor number of the last message before the next that is added */
  clear(floor: number): void {
    this.#grow(-this.#bytes);
    this.#messages = [];
    this.#floor = floor;
  }

  #grow(bytes: number) {
    this.#bytes += bytes;
    this.#budget.bytes += bytes;
  }
}

function sizeOf({ bytes }: Stored): number {
  return bytes.length + MESSAGE_BYTES;
}
