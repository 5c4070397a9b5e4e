import { decodePush, type Push } from '@pushcluster/protocol/push.ts';
import { BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { pause, systemClock } from '@pushcluster/runtime/clock.ts';
import {
  HistoryMissing,
  HistoryRefused,
  type HistoryStore,
  type StoredPush,
} from '@pushcluster/runtime/history/historyStore.ts';
import { Problem } from '../errors/problem.ts';
import type { RoomHistories } from './roomHistories.ts';

/** Pushes read from the store at once. */
const BATCH = 200;
/** A read is tried again so often, after so many milliseconds, if the server that answered is behind. */
const [ATTEMPTS, AGAIN_MS] = [10, 200];
/** Bytes of the pushes in one answer at most, unless one push is larger. */
const MAX_BYTES = 4 * 1_048_576;

const [COMMA, encoder] = [Buffer.from(','), new TextEncoder()];

/** Reads the last pushes of rooms, for the API. */
export class HistoryReader {
  readonly #store: HistoryStore;
  readonly #histories: RoomHistories;

  constructor(store: HistoryStore, histories: RoomHistories) {
    this.#store = store;
    this.#histories = histories;
  }

  /**
   * The last pushes of a room before the number `before`, as the JSON text of protocol/api.ts' RoomHistory: `limit` at most,
   * and fewer if they are large, but none only if there is none. Items stay the publisher's bytes.
   * Throws Problem no_history, or BusUnavailable.
   */
  async read(room: string, limit: number, before = Number.POSITIVE_INFINITY): Promise<Buffer> {
    const policy = this.#histories.policyOf(room);
    if (!policy)
      throw new Problem('no_history', 'No policy with a history matches this room (rooms[].history of the settings).');
    try {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        const { epoch, last } = await this.#store.state(policy.match);
        // The room's last push, of a server that knows the stream as far as its leader does.
        const { seqs, upTo } = await this.#store.heads(policy.match, [room], 0);
        const pushes =
          upTo !== undefined && upTo < last ? undefined : await this.#last(policy.match, room, limit, before);
        const newest = seqs.get(room) ?? 0;
        // Another server may have answered, which is behind.
        const isWhole = pushes && (newest >= before || (pushes.at(-1)?.seq ?? 0) >= newest);
        if (isWhole) return textOf(room, epoch, pushes);
        await pause(systemClock, AGAIN_MS);
      }
      throw new BusUnavailable('the NATS servers that answered are behind');
    } catch (error) {
      const isAway =
        error instanceof BusUnavailable || error instanceof BusUnconfirmed || error instanceof HistoryMissing;
      // Nothing is changed by reading: an answer that did not come is no other than none.
      if (isAway || error instanceof HistoryRefused) throw new BusUnavailable(error.message);
      throw error;
    }
  }

  /** The store reads forward only: it goes through the history of the room from its beginning. */
  async #last(match: string, room: string, limit: number, before: number): Promise<StoredPush[]> {
    let last: StoredPush[] = [];
    for (let from = 1; from < before; ) {
      const { pushes, pending } = await this.#store.read(match, room, from, BATCH);
      last = newest([...last, ...pushes.filter(({ seq }) => seq < before)], limit);
      const end = pushes.at(-1);
      if (pending === 0 || end === undefined) break;
      from = end.seq + 1;
    }
    return last;
  }
}

/** The end of `pushes` that one answer holds. */
function newest(pushes: readonly StoredPush[], limit: number): StoredPush[] {
  let from = pushes.length;
  let bytes = 0;
  while (from > 0 && pushes.length - from < limit) {
    bytes += pushes[from - 1]!.bytes.length;
    if (bytes > MAX_BYTES && from < pushes.length) break;
    from--;
  }
  return pushes.slice(from);
}

function textOf(room: string, epoch: string, pushes: readonly StoredPush[]): Buffer {
  const parts: Uint8Array[] = [text(`{"room":${JSON.stringify(room)},"epoch":${JSON.stringify(epoch)},"pushes":[`)];
  for (const { seq, bytes } of pushes) {
    const push = pushOf(bytes);
    if (push === undefined) continue;
    const { at, items } = push;
    if (parts.length > 1) parts.push(COMMA);
    parts.push(text(`{"seq":${seq},"at":"${new Date(at).toISOString()}","items":[`), items.bytes, text(']}'));
  }
  parts.push(text(']}'));
  return Buffer.concat(parts);
}

/** Undefined if another program, or a later version, has stored something else. */
function pushOf(bytes: Uint8Array): Push | undefined {
  try {
    return decodePush(bytes);
  } catch {
    return undefined;
  }
}

function text(value: string): Uint8Array {
  return encoder.encode(value);
}
