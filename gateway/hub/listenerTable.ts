import { WIRE_FORMS } from '@pushcluster/protocol/wireForms.ts';
import { type ChannelKey, isRoom } from '../ipc/channelKey.ts';

/**
 * The wire forms that have a listener on each shard, for one channel. There may be a user for each connection, so this
 * is small: up to MAX_PACKED shards with a listener are the digits of one number, to the base DIGIT, each of them
 * `shard × FORM_SETS + mask`. More shards than that are an array of masks by shard.
 */
export type ChannelListeners = number | readonly number[];

/** How many masks of forms there are. */
const FORM_SETS = 1 << WIRE_FORMS.length;
/** gateway.shards is at most 256. */
const DIGIT = 256 * FORM_SETS;
/** A number is exact up to 53 bits; with three forms two shards take 22 bits, which V8 keeps without an allocation. */
const MAX_PACKED = 4;

/** Which shard listens to what: the one table of it. */
export class ListenerTable {
  /** Channels that have a listener. */
  readonly #listeners = new Map<ChannelKey, ChannelListeners>();
  /** What the next process of a shard has set while the listeners of the former one are being removed, by shard. */
  readonly #renewed = new Map<number, Set<ChannelKey>>();
  #rooms = 0;

  /** Rooms that have a listener. */
  get rooms(): number {
    return this.#rooms;
  }

  has(key: ChannelKey): boolean {
    return this.#listeners.has(key);
  }

  /** The listeners of a channel, for formsOf and formsAt; undefined if it has none. */
  of(key: ChannelKey): ChannelListeners | undefined {
    return this.#listeners.get(key);
  }

  /** From now on a shard has listeners for the forms in `mask`, and for no other. @param shard its index */
  set(key: ChannelKey, shard: number, mask: number): void {
    this.#renewed.get(shard)?.add(key);
    this.#put(key, shard, mask);
  }

  /**
   * A shard's connections are gone. Removes its listeners step by step, for there may be as many as connections, and
   * yields in each step a channel that had one, or undefined. What `set` says of the shard meanwhile is of its next
   * process, and stays.
   */
  removeShard(shard: number): Generator<ChannelKey | undefined, void> {
    const renewed = new Set<ChannelKey>();
    this.#renewed.set(shard, renewed);
    return this.#remove(shard, renewed);
  }

  /** The listeners of a channel on a shard are gone, and yet to be removed. */
  isGone(key: ChannelKey, shard: number): boolean {
    return this.#renewed.get(shard)?.has(key) === false;
  }

  *#remove(shard: number, renewed: ReadonlySet<ChannelKey>): Generator<ChannelKey | undefined, void> {
    for (const [key, listeners] of this.#listeners) {
      // The next process has died, too: this is done anew.
      if (this.#renewed.get(shard) !== renewed) return;
      const had = formsAt(listeners, shard) !== 0 && !renewed.has(key);
      if (had) this.#put(key, shard, 0);
      yield had ? key : undefined;
    }
    if (this.#renewed.get(shard) === renewed) this.#renewed.delete(shard);
  }

  #put(key: ChannelKey, shard: number, mask: number) {
    const before = this.#listeners.get(key);
    const after = withShard(before, shard, mask);
    if (after === before) return;
    if (after === undefined) this.#listeners.delete(key);
    else this.#listeners.set(key, after);
    if (isRoom(key)) this.#rooms += (after === undefined ? 0 : 1) - (before === undefined ? 0 : 1);
  }
}

/** Forms that have a listener on any shard. */
export function formsOf(listeners: ChannelListeners): number {
  let forms = 0;
  if (typeof listeners !== 'number') for (const mask of listeners) forms |= mask;
  else for (let left = listeners; left > 0; left = Math.floor(left / DIGIT)) forms |= left % FORM_SETS;
  return forms;
}

/** Forms that have a listener on `shard`. */
export function formsAt(listeners: ChannelListeners, shard: number): number {
  if (typeof listeners !== 'number') return listeners[shard] ?? 0;
  for (let left = listeners; left > 0; left = Math.floor(left / DIGIT)) {
    const digit = left % DIGIT;
    if (Math.floor(digit / FORM_SETS) === shard) return digit % FORM_SETS;
  }
  return 0;
}

function withShard(before: ChannelListeners | undefined, shard: number, mask: number): ChannelListeners | undefined {
  if (before === undefined) return mask === 0 ? undefined : shard * FORM_SETS + mask;
  if (formsAt(before, shard) === mask) return before;
  const masks = masksOf(before);
  while (masks.length <= shard) masks.push(0);
  masks[shard] = mask;
  return packed(masks);
}

/** Masks by shard, 0 for those without a listener. */
function masksOf(listeners: ChannelListeners): number[] {
  if (typeof listeners !== 'number') return [...listeners];
  const masks: number[] = [];
  for (let left = listeners; left > 0; left = Math.floor(left / DIGIT)) {
    const digit = left % DIGIT;
    const shard = Math.floor(digit / FORM_SETS);
    while (masks.length <= shard) masks.push(0);
    masks[shard] = digit % FORM_SETS;
  }
  return masks;
}

function packed(masks: readonly number[]): ChannelListeners | undefined {
  let digits = 0;
  let number = 0;
  for (const [shard, mask] of masks.entries()) {
    if (mask === 0) continue;
    if (++digits > MAX_PACKED) return masks;
    number = number * DIGIT + shard * FORM_SETS + mask;
  }
  return digits === 0 ? undefined : number;
}
