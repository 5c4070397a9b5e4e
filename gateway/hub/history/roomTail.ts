import type { Extract, StoredPush } from '@pushcluster/runtime/history/historyStore.ts';
import { BATCH, type RoomHistory } from './roomHistory.ts';

/** Bytes of pushes that are held for the ring while the store is read: as much as a ring takes. */
const HELD_BYTES = 524_288;
/** Attempts to find where the last pushes begin, by how many follow. The next reads from there, however many there are. */
const MAX_GUESSES = 12;

/** A place in a room, how many pushes the server that answered has from there on, and the first of them. */
type Place = { seq: number; count: number; read?: Extract };

/** Numbers of a room's last stored pushes. Nobody but limits takes any away, from its beginning. */
export type RoomTail = {
  epoch: string;
  /** All pushes of the room from its beginning up to this number are in `seqs`. */
  upTo: number;
  /** Oldest first. */
  seqs: readonly number[];
  /** The room has none before. */
  isWhole: boolean;
};

/**
 * Reads the room's last pushes up to the ring's floor, and keeps as many as there is room for in the ring. A room may have
 * thousands, and a read costs what lies between them: it begins near the end. Undefined if the server that answered is behind,
 * or the ring has given up meanwhile what was not read.
 *
 * @param wanted so many, if there are as many
 */
export async function readTail(room: RoomHistory, wanted: number): Promise<RoomTail | undefined> {
  const { epoch, ring } = room;
  const upTo = ring.floor;
  const start = await startOf(room, wanted);
  if (epoch === undefined || start === undefined) return undefined;
  const first = start.seq;
  const seqs: number[] = [];
  const held: StoredPush[] = [];
  let [heldBytes, after, end] = [0, first - 1, first - 1];
  for (let [isLast, read] = [false, start.read]; end < upTo && !isLast; read = undefined) {
    const { pushes, pending } = read ?? (await room.read(end + 1));
    isLast = pending === 0 || pushes.length === 0;
    end = pushes.at(-1)?.seq ?? end;
    for (const push of pushes.filter(({ seq }) => seq <= upTo)) {
      seqs.push(push.seq);
      held.push(push);
      heldBytes += push.bytes.length;
    }
    let gone = 0;
    while (heldBytes > HELD_BYTES) heldBytes -= held[gone++]!.bytes.length;
    after = held[gone - 1]?.seq ?? after;
    held.splice(0, gone);
  }
  // The server that answered may be behind.
  if (end < upTo && (await room.next(end, upTo)) <= upTo) return undefined;
  const isWhole = first === 1;
  if (room.epoch !== epoch || ring.floor > upTo || (seqs.length < wanted && !isWhole)) return undefined;
  if (after < ring.floor)
    room.keep(
      held.filter(({ seq }) => seq <= ring.floor),
      after,
    );
  return { epoch, upTo, seqs, isWhole };
}

/** Where the room has so many pushes from there up to the ring's floor, and not many more; its beginning if it has fewer. */
async function startOf(room: RoomHistory, wanted: number): Promise<Pick<Place, 'seq' | 'read'> | undefined> {
  const beginning = { seq: 1 };
  if ((room.stream?.messages ?? Number.POSITIVE_INFINITY) <= BATCH) return beginning;
  const { ring } = room;
  // The server that answers counts those, too, that came since.
  const least = wanted + ring.between(ring.floor, Number.POSITIVE_INFINITY).length;
  const [aim, most] = [Math.ceil(least * 1.25) + 8, Math.ceil(least * 1.5) + BATCH];
  let low = await placeAt(room, 1, 1);
  if (low === undefined) return undefined;
  if (low.count <= most) return beginning;
  low.seq = low.read!.pushes[0]?.seq ?? 1;
  let high: Place = { seq: ring.floor + 1, count: 0 };
  for (let guess = 0; guess < MAX_GUESSES && high.seq - low.seq > 1; guess++) {
    // As if pushes came evenly, and every other time half way: they may have come all at once.
    const share: number = guess % 2 === 0 ? (low.count - aim) / (low.count - high.count) : 1 / 2;
    const between = low.seq + Math.floor((high.seq - low.seq) * share);
    const found = await placeAt(room, Math.min(Math.max(between, low.seq + 1), high.seq - 1));
    if (found === undefined) return undefined;
    if (found.count > most) low = found;
    else if (found.count >= least) return found;
    else high = found;
  }
  return { seq: low.seq };
}

async function placeAt(room: RoomHistory, seq: number, limit = BATCH): Promise<Place | undefined> {
  const read = await room.read(seq, limit);
  if (read.pending === undefined) return undefined;
  return { seq, count: read.pushes.length + read.pending, read };
}
