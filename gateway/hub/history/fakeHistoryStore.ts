import { encodePush, joinItems } from '@pushcluster/protocol/push.ts';
import { BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import type { Extract, Heads, HistoryStore, StoredPush } from '@pushcluster/runtime/history/historyStore.ts';

/** A message as it was delivered. */
export type Delivery = { seq: number; previous: number; bytes: Uint8Array };

/** A store that is as slow, as behind and as forgetful as a test wants. */
export class FakeHistoryStore
  implements Pick<HistoryStore, 'formerMs' | 'state' | 'read' | 'at' | 'heads' | 'streamOf'>
{
  formerMs = 4_000;
  streamOf = () => 'stream';
  pushes: StoredPush[] = [];
  last = 0;
  epoch = 'first';
  messages = 1_000;
  maxAge = 3_600_000;
  /** Rejects everything. */
  away = false;
  /** Has no leader, which alone knows its state. */
  leaderless = false;
  /** Rejects reads. */
  unreadable = false;
  /** Rejects questions about the last pushes. */
  headless = false;
  /** Servers other than the leader know nothing after this number. */
  knownUpTo = Number.POSITIVE_INFINITY;
  reads = 0;
  /** Its clock, if it tells. */
  now: number | undefined;

  /** @param size bytes of the item, with white space behind it, if that is more */
  append(item: number, size = 0): Delivery {
    const previous = this.pushes.at(-1)?.seq ?? 0;
    // Other rooms take numbers in between.
    this.last += 1 + (item % 3);
    const bytes = encodePush({
      ...{ publisher: 'p', counter: item, at: 0, begun: 0, beat: 1, mark: 1, first: 1, urgent: false, id: '' },
      items: joinItems([Buffer.from(String(item).padEnd(size))]),
    });
    this.pushes.push({ seq: this.last, at: this.now ?? 0, bytes });
    if (this.pushes.length > this.messages) this.pushes.shift();
    return { seq: this.last, previous, bytes };
  }

  async state() {
    this.#checkIsThere();
    if (this.leaderless) throw new BusUnconfirmed('no answer');
    const { epoch, last, messages, maxAge, now } = this;
    return { epoch, last, floor: 0, messages, maxAge, ...(now === undefined ? {} : { at: now }) };
  }

  async read(_match: string, _room: string, from: number, limit: number, fresh = false): Promise<Extract> {
    this.#checkIsThere();
    if (this.unreadable) throw new BusUnconfirmed('no answer');
    this.reads++;
    const known = fresh ? this.pushes : this.pushes.filter(({ seq }) => seq <= this.knownUpTo);
    const found = known.filter(({ seq }) => seq >= from);
    const size = fresh ? 1 : limit;
    return { pushes: found.slice(0, size), pending: fresh ? undefined : Math.max(0, found.length - size) };
  }

  async at(_match: string, seq: number) {
    this.#checkIsThere();
    return this.pushes.find((push) => push.seq === seq)?.bytes;
  }

  async heads(_match: string, rooms: readonly string[], after: number): Promise<Heads> {
    this.#checkIsThere();
    if (this.headless) throw new BusUnconfirmed('no answer');
    const last = this.pushes.filter(({ seq }) => seq <= this.knownUpTo).at(-1)?.seq ?? 0;
    if (last <= after) return { seqs: new Map(), upTo: undefined };
    return { seqs: new Map(rooms.map((room) => [room, last])), upTo: Math.min(this.last, this.knownUpTo) };
  }

  #checkIsThere() {
    if (this.away) throw new BusUnconfirmed('no answer');
  }
}
