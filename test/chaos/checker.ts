import type { Event } from './record.ts';

/** What a run showed. `problems` has a sentence for each kind of fault of the product, with its first example. */
export type Verdict = {
  /** Items that were tried, that were stored, and of which nobody knows. */
  published: number;
  acked: number;
  unknown: number;
  /** Items that clients got, all clients together. */
  delivered: number;
  /**
   * Items that were stored and that a client should have got: before its first one (of those that were pushed once it had
   * joined), between two, and after its last.
   */
  lost: { prefix: number; middle: number; postfix: number };
  /** Items that a client got again. */
  twice: number;
  /** Items that a client got after one that the history has behind them. */
  disorder: number;
  /** Rooms that did not go on where they were, of any client, and those for which there was no reason. */
  resets: number;
  needless: number;
  /** Items that clients missed and were told of. */
  told: number;
  /** Items that go-push clients missed where the history was interrupted: nothing can tell them. */
  cutOff: number;
  /** Milliseconds between two items of a client at most. */
  silence: number;
  faults: number;
  problems: string[];
};

type Place = { epoch: string; seq: number };
/** What came to a client, and whether items before it may be missing: the client was told so. */
type Came = { place: Place; t: number; isTold: boolean };

/** Milliseconds from a break of the store until a gateway goes on after it: both may be stopped and cut off meanwhile. */
const BREAK_MS = 60_000;

/** Judges a run of rooms with history. The numbers of the checks are those of docs/reliability.md. */
export function judge(all: readonly Event[]): Verdict {
  const plain = new Set(all.flatMap((event) => (event.type === 'room without history' ? [event.room] : [])));
  const events = all.filter((event) => !('room' in event) || !plain.has(event.room));
  const problems = new Map<string, { count: number; example: string }>();
  const found = (what: string, example: string) => {
    const problem = problems.get(what);
    if (problem) problem.count++;
    else problems.set(what, { count: 1, example });
  };
  const attempts = new Map<string, { room: string; t: number }>();
  const places = new Map<string, Place>();
  const stored = new Map<string, Place>();
  const refused = new Set<string>();
  const unknown = new Set<string>();
  const byPlace = new Map<string, string>();
  /** By room, the first push that the history still has. */
  const oldest = new Map<string, number>();
  /** Epochs in the order of their first push. */
  const epochs = new Map<string, number>();
  /** When each was first heard of, and the least number that a push got in it. */
  const begunAt = new Map<string, number>();
  const firstIn = new Map<string, number>();
  const breaks = events.filter(({ type }) => type === 'break').map(({ t }) => t);
  let faults = 0;

  for (const event of events) {
    if ('epoch' in event && !epochs.has(event.epoch)) {
      epochs.set(event.epoch, epochs.size);
      begunAt.set(event.epoch, event.t);
    }
    if (event.type === 'attempt') attempts.set(event.item, { room: event.room, t: event.t });
    if (event.type === 'fault') faults++;
    if (event.type === 'refused') refused.add(event.item);
    if (event.type === 'unknown') unknown.add(event.item);
    if (event.type === 'acked') {
      const { item, epoch, seq } = event;
      const before = places.get(item);
      // A10: a push that is tried again is one push.
      if (before && (before.seq !== seq || before.epoch !== epoch))
        found('A10: one id has two positions', `${item}: ${before.seq} and ${seq}`);
      places.set(item, { epoch, seq });
      firstIn.set(epoch, Math.min(firstIn.get(epoch) ?? seq, seq));
      // A2: a position is one push.
      const key = `${event.room} ${epoch} ${seq}`;
      const other = byPlace.get(key);
      if (other !== undefined && other !== item) found('A2: two pushes have one position', `${key}: ${other}, ${item}`);
      byPlace.set(key, item);
    }
    if (event.type === 'stored') {
      const { room, seq } = event;
      oldest.set(room, Math.min(oldest.get(room) ?? seq, seq));
      for (const item of event.items) {
        if (stored.has(item)) found('A10: the history has an item twice', item);
        stored.set(item, { epoch: event.epoch, seq: event.seq });
      }
    }
  }

  if (epochs.size > breaks.length + 1)
    found('A8: another history without a reason', `${epochs.size} epochs after ${breaks.length} breaks`);
  const isLast = ({ epoch }: Place) => epochs.get(epoch) === epochs.size - 1;
  for (const [item, place] of places) {
    const kept = stored.get(item);
    // A11: what was accepted is there, unless the policy keeps no more, or it went with an earlier history.
    if (!kept) {
      const isWithinLimits = place.seq > (oldest.get(attempts.get(item)?.room ?? '') ?? 0);
      if (isLast(place) && isWithinLimits) found('A11: an accepted push is not in the history', item);
    } else if (kept.seq !== place.seq || (isLast(place) && kept.epoch !== place.epoch))
      found('A2: the history has a push elsewhere than its answer said', `${item}: ${kept.seq}, not ${place.seq}`);
  }
  checkRealTime(events, attempts, found);

  const placeOf = (item: string) => places.get(item) ?? stored.get(item);
  const wasStoredAgain = (item: string, { epoch }: Place) =>
    epochs.get(epoch)! > 0 && (attempts.get(item)?.t ?? 0) <= begunAt.get(epoch)!;
  /** The place in a later history, if that was made by setting the stream back and has kept the push under its number. */
  const placeIn = (epoch: string | undefined, { epoch: own, seq }: Place): Place | undefined => {
    if (epoch === undefined || epochs.get(own)! >= epochs.get(epoch)!) return undefined;
    const later = [...epochs.keys()].slice(epochs.get(own)! + 1, epochs.get(epoch)! + 1);
    return later.every((each) => seq < (firstIn.get(each) ?? 0)) ? { epoch, seq } : undefined;
  };
  const order = (a: Place, b: Place) => (epochs.get(a.epoch) ?? 0) - (epochs.get(b.epoch) ?? 0) || a.seq - b.seq;
  const verdict: Verdict = {
    ...{ published: attempts.size, acked: places.size, unknown: [...unknown].filter((i) => !places.has(i)).length },
    ...{ delivered: 0, lost: { prefix: 0, middle: 0, postfix: 0 }, twice: 0, disorder: 0 },
    ...{ resets: 0, needless: 0, told: 0, cutOff: 0, silence: 0, faults, problems: [] },
  };

  for (const [name, theirs] of clientsOf(events)) {
    const seen = new Set<string>();
    /** Since it was told last that its room began anew. */
    let since = new Set<string>();
    /** In the order of places. */
    const line: Came[] = [];
    const joined = theirs.find((event) => event.type === 'joined');
    const isDeaf = joined?.form === 'go-push';
    let [resets, wasClosed, lastAt] = [0, false, undefined as number | undefined];
    for (const event of theirs) {
      if (event.type === 'told') found('a client of rooms with history was told of losses', `${name}: ${event.what}`);
      if (event.type === 'closed') wasClosed = true;
      if (event.type === 'reset') {
        verdict.resets++;
        since = new Set();
        // Up to there it was told that items may be missing, but not after.
        const place = { epoch: event.epoch, seq: event.seq };
        const before = line.at(-1)?.place;
        if (!before || order(place, before) >= 0) line.push({ place, t: event.t, isTold: true });
        // Each break of the store is a reason for one.
        if (++resets <= breaks.filter((t) => t <= event.t).length) continue;
        verdict.needless++;
        found('A8: a reset without a reason', `${name} at ${event.t} ms: ${event.reason}`);
      }
      if (event.type !== 'item') continue;
      verdict.delivered++;
      if (lastAt !== undefined) verdict.silence = Math.max(verdict.silence, event.t - lastAt);
      lastAt = event.t;
      const { item } = event;
      const before = line.at(-1)?.place;
      const own = placeOf(item);
      const place = own && (placeIn(before?.epoch, own) ?? own);
      // A1: an item comes from somewhere.
      if (!attempts.has(item)) found('A1: an item that nobody pushed', `${name}: ${item}`);
      else if (refused.has(item) && !place) found('A1: an item that was refused', `${name}: ${item}`);
      // A4: once.
      if (since.has(item) && !(place && wasStoredAgain(item, place))) {
        verdict.twice++;
        found('A4: an item came twice', `${name} at ${event.t} ms: ${item}`);
      }
      since.add(item);
      seen.add(item);
      if (!place) continue;
      // An earlier history had it too, at a place that nobody was told: it was stored again in this one.
      if (before && before.epoch !== place.epoch && wasStoredAgain(item, place)) continue;
      // A3: in order.
      if (before && order(place, before) < 0) {
        verdict.disorder++;
        found('A3: an item came too late', `${name} at ${event.t} ms: ${item}`);
        continue;
      }
      const isOther = before !== undefined && before.epoch !== place.epoch;
      // Who knows nothing of histories is not told.
      if (isOther && !isDeaf)
        found('A8: a client was not told of another history', `${name} at ${event.t} ms: ${item}`);
      line.push({ place, t: event.t, isTold: isOther });
    }
    // A5, A7: nothing is missing from its first item to the last that was accepted.
    const room = theirs.find((event) => 'room' in event)?.room ?? '';
    const starts = theirs.filter((event) => event.type === 'reset');
    const missed = new Map<number, string[]>();
    for (const [item, place] of new Map([...stored, ...places])) {
      const attempt = attempts.get(item);
      if (attempt?.room !== room || seen.has(item)) continue;
      // Once it was told that the room is before it, in a history that has it, it is due to come after that.
      const due = starts.findLast((start) => placeIn(start.epoch, place) !== undefined && start.seq < place.seq);
      const dueAt = { epoch: due?.epoch ?? place.epoch, seq: place.seq };
      const at = firstAfter(line, (entry) => order(entry.place, dueAt) >= 0);
      // What its last connection did not bring, a client that does not resume misses.
      if (at < 0 && wasClosed) continue;
      const isPrefix = at === 0 || line.length === 0;
      if (isPrefix && attempt.t <= (joined?.t ?? Number.POSITIVE_INFINITY)) continue;
      missed.set(at, [...(missed.get(at) ?? []), item]);
    }
    const cutOff = isDeaf ? interruptions(line, new Set(missed.keys()), breaks) : new Set();
    for (const [at, items] of missed)
      for (const item of items) {
        const isPrefix = at === 0 || line.length === 0;
        if (cutOff.has(at)) verdict.cutOff++;
        else if (line[at]?.isTold) verdict.told++;
        else if (isPrefix) {
          verdict.lost.prefix++;
          found('A5: lost before the first item', `${name}: ${item}`);
        } else if (at < 0) {
          verdict.lost.postfix++;
          found('A7: what was accepted never came', `${name}: ${item}`);
        } else {
          verdict.lost.middle++;
          found('A5: lost between two items', `${name}: ${item}`);
        }
      }
  }
  for (const [what, { count, example }] of problems) verdict.problems.push(`${what} (${count} times): ${example}`);
  return verdict;
}

/**
 * Where a client that cannot be told of a reset may lack items: once for each break of the store, as others are reset once.
 * @param missing indexes of what came after items that are missing
 */
function interruptions(line: readonly Came[], missing: ReadonlySet<number>, breaks: readonly number[]): Set<number> {
  const left = [...breaks];
  const found = new Set<number>();
  for (const [at, { t, isTold }] of line.entries()) {
    if (!isTold && !missing.has(at)) continue;
    const reason = left.findIndex((broken) => broken <= t && t - broken <= BREAK_MS);
    if (reason < 0) continue;
    left.splice(reason, 1);
    found.add(at);
  }
  return found;
}

/** Index of the first entry for which `isAfter` is true; it is true for all that follow on it. -1: for none. */
function firstAfter<T>(line: readonly T[], isAfter: (entry: T) => boolean): number {
  let [low, high] = [0, line.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isAfter(line[middle]!)) high = middle;
    else low = middle + 1;
  }
  return low < line.length ? low : -1;
}

/** A9: a push that was accepted before another one began has the smaller number. */
function checkRealTime(
  events: readonly Event[],
  attempts: ReadonlyMap<string, { room: string; t: number }>,
  found: (what: string, example: string) => void,
) {
  const acks = events.filter((event) => event.type === 'acked');
  const starts = acks.map((ack) => ({ ack, t: attempts.get(ack.item)?.t ?? ack.t })).sort((a, b) => a.t - b.t);
  const highest = new Map<string, { seq: number; item: string }>();
  let next = 0;
  for (const { ack, t } of starts) {
    for (; next < acks.length && acks[next]!.t < t; next++) {
      const { room, epoch, seq, item } = acks[next]!;
      const key = `${room} ${epoch}`;
      if (seq > (highest.get(key)?.seq ?? 0)) highest.set(key, { seq, item });
    }
    const before = highest.get(`${ack.room} ${ack.epoch}`);
    if (before && before.seq > ack.seq)
      found('A9: a later push has a smaller number', `${ack.item}: ${ack.seq}, after ${before.item}: ${before.seq}`);
  }
}

type ClientEvent = Extract<Event, { client: string }>;

function clientsOf(events: readonly Event[]): Map<string, ClientEvent[]> {
  const clients = new Map<string, ClientEvent[]>();
  for (const event of events) {
    if (!('client' in event)) continue;
    const theirs = clients.get(event.client);
    if (theirs) theirs.push(event);
    else clients.set(event.client, [event]);
  }
  return clients;
}

/** The line that a run ends with. */
export function lineOf(verdict: Verdict, seed?: number): string {
  const { published, acked, unknown, delivered, lost, twice, disorder, resets, needless, told, silence, faults } =
    verdict;
  const { prefix, middle, postfix } = lost;
  return [
    `published ${published}, acked ${acked}, unknown ${unknown}, delivered ${delivered}`,
    `lost ${prefix + middle + postfix}, twice ${twice}, disorder ${disorder}, resets ${resets} (needless ${needless})`,
    `told ${told}, longest silence ${(silence / 1_000).toFixed(1)} s`,
    ...(seed === undefined ? [] : [`faults ${faults}, seed ${seed}`]),
  ].join(', ');
}
