import type { Event, Form } from './record.ts';

/** Milliseconds until a loss that is known must have been told. A gateway tells once a second and room at most. */
const TOLD_WITHIN_MS = 5_000;
/** Milliseconds for which items from before a client's JOIN may be told to it: others of its gateway missed them. */
const BEFORE_JOIN_MS = 30_000;

/** What a run showed in rooms without history, items of all connections together. */
export type LossVerdict = {
  connections: number;
  /** Items that were pushed while a connection was in the room, that it got, and that it was told to have missed. */
  published: number;
  received: number;
  told: number;
  /** Items that it missed and was not told of, since it ended too soon, or does not speak v1. */
  cutOff: number;
  /** Items that it missed and should have been told of; and told losses that were none. */
  untold: number;
  overtold: number;
  /** Items that the SDK says were missed between two connections, or on one. */
  gaps: number;
  twice: number;
  disorder: number;
  problems: string[];
};

type Push = { item: string; room: string; t: number; accepted: number; via: string; isRetried: boolean };
/** One connection of a client, or all of one client. */
type Stay = {
  client: string;
  room: string;
  form: Form;
  at: string;
  from: number;
  to: number;
  wasMoved: boolean;
  items: { item: string; t: number; by: string | undefined }[];
  told: { lagged: number; gap: number };
};

/**
 * The accounts of rooms without history: for each connection, published = received + told + cut off. What must be told is
 * what lies between two items of one publisher that the connection got: the gateway knows that it is missing by then.
 * docs/explanation/reliability.md says what else need not be told.
 */
export function accountsOf(events: readonly Event[]): LossVerdict {
  const problems = new Map<string, { count: number; example: string }>();
  const found = (what: string, example: string) => {
    const problem = problems.get(what);
    if (problem) problem.count++;
    else problems.set(what, { count: 1, example });
  };
  const rooms = new Set(events.flatMap((event) => (event.type === 'room without history' ? [event.room] : [])));
  const end = events.at(-1)?.t ?? 0;
  const pushes = pushesOf(events, rooms);
  const stays = staysOf(events, rooms, end);
  const verdict: LossVerdict = {
    ...{ connections: stays.length, published: 0, received: 0, told: 0, cutOff: 0, untold: 0, overtold: 0 },
    ...{ gaps: 0, twice: 0, disorder: 0, problems: [] },
  };
  const got = new Map(stays.map((stay) => [stay, new Set(stay.items.map(({ item }) => item))]));

  for (const stay of stays) {
    const { client, room, form, from, to, told } = stay;
    const mine = got.get(stay)!;
    checkItems(stay, pushes, verdict, found);
    const ofRoom = [...pushes.values()].filter((push) => push.room === room);
    const meant = ofRoom.filter(({ t, item }) => (t >= from && t < to) || mine.has(item));
    const missing = meant.filter(({ item }) => !mine.has(item));
    verdict.published += meant.length;
    verdict.received += mine.size;
    verdict.told += told.lagged;
    const due = form === 'go-push' || stay.wasMoved ? 0 : countDue(missing, stay, pushes, to - TOLD_WITHIN_MS);
    const untold = Math.max(0, due - told.lagged);
    if (untold > 0) found('losses were not told', `${client}: ${untold} of ${due} items`);
    verdict.untold += untold;
    verdict.cutOff += Math.max(0, missing.length - told.lagged - untold);
    // Before it came: of these the others of its gateway missed some.
    const others = stays.filter((other) => other.room === room && other.at === stay.at);
    const before = ofRoom.filter(
      ({ t, item }) => t < from && t >= from - BEFORE_JOIN_MS && !others.some((other) => got.get(other)!.has(item)),
    );
    const retried = ofRoom.filter(({ isRetried, item }) => isRetried && mine.has(item));
    const overtold = Math.max(0, told.lagged - missing.length - before.length - retried.length);
    if (overtold > 0) found('losses were told that were none', `${client}: ${overtold} of ${told.lagged} items`);
    verdict.overtold += overtold;
  }

  for (const life of livesOf(stays)) {
    const { client, room, told } = life;
    const mine = new Set(life.items.map(({ item }) => item));
    const ofRoom = [...pushes.values()].filter((push) => push.room === room && push.t >= life.from);
    const missing = ofRoom.filter(({ item }) => !mine.has(item));
    const due = countDue(missing, life, pushes, end);
    verdict.gaps += told.gap;
    if (due > told.gap) {
      verdict.untold += due - told.gap;
      found('the SDK did not say what was missed', `${client}: ${due - told.gap} of ${due} items`);
    }
    const most = missing.length + ofRoom.filter(({ isRetried }) => isRetried).length;
    if (told.gap > most) {
      verdict.overtold += told.gap - most;
      found('the SDK said that more was missed than was', `${client}: ${told.gap}, not ${most} items`);
    }
  }
  for (const [what, { count, example }] of problems) verdict.problems.push(`${what} (${count} times): ${example}`);
  return verdict;
}

/** A1, A3 and A4 of rooms without history: the order is that of each publisher. */
function checkItems(
  { client, items }: Stay,
  pushes: ReadonlyMap<string, Push>,
  verdict: LossVerdict,
  found: (what: string, example: string) => void,
) {
  const seen = new Set<string>();
  const last = new Map<string, { item: string; t: number }>();
  for (const { item, by } of items) {
    const push = pushes.get(item);
    if (!push) found('A1: an item that nobody pushed', `${client}: ${item}`);
    if (seen.has(item)) {
      verdict.twice++;
      found('A4: an item came twice', `${client}: ${item}`);
    }
    seen.add(item);
    // A backend pushes one item after another, but a retry may come through another publisher.
    if (!push || push.isRetried || by === undefined) continue;
    const key = `${by} ${item.slice(0, item.lastIndexOf(':'))}`;
    const before = last.get(key);
    if (before && before.t > push.t) {
      verdict.disorder++;
      found('A3: an item came too late', `${client}: ${item} after ${before.item}`);
    }
    last.set(key, { item, t: push.t });
  }
}

/** How many of `missing` lie between two items of the same publisher, the later one of which came before `until`. */
function countDue(missing: readonly Push[], stay: Stay, pushes: ReadonlyMap<string, Push>, until: number): number {
  // Each name of a publisher is of one logic process; a process may have several names, one after another.
  const spans = new Map<string, { via: string; after: number; before: number }>();
  for (const { item, t, by } of stay.items) {
    const push = pushes.get(item);
    if (!push || push.isRetried || by === undefined) continue;
    const span = spans.get(by) ?? { via: push.via, after: push.accepted, before: Number.NEGATIVE_INFINITY };
    span.after = Math.min(span.after, push.accepted);
    if (t <= until) span.before = Math.max(span.before, push.t);
    spans.set(by, span);
  }
  const known = [...spans.values()];
  return missing.filter(
    (push) =>
      !push.isRetried &&
      known.some(({ via, after, before }) => via === push.via && after <= push.t && push.accepted <= before),
  ).length;
}

function pushesOf(events: readonly Event[], rooms: ReadonlySet<string>): Map<string, Push> {
  const pushes = new Map<string, Push>();
  for (const event of events) {
    if (event.type === 'attempt' && rooms.has(event.room)) {
      const { item, room, t } = event;
      pushes.set(item, { item, room, t, accepted: Number.POSITIVE_INFINITY, via: '', isRetried: false });
    }
    const push = 'item' in event ? pushes.get(event.item) : undefined;
    if (!push) continue;
    if (event.type === 'unknown' || event.type === 'refused') push.isRetried = true;
    if (event.type === 'accepted') Object.assign(push, { accepted: event.t, via: event.via });
  }
  return pushes;
}

function staysOf(events: readonly Event[], rooms: ReadonlySet<string>, end: number): Stay[] {
  const stays = new Map<string, Stay>();
  for (const event of events) {
    if (!('client' in event) || !rooms.has(event.room)) continue;
    const { client, room, t } = event;
    if (event.type === 'joined') {
      const { form = 'sdk', at = '' } = event;
      const told = { lagged: 0, gap: 0 };
      stays.set(client, { client, room, form, at, from: t, to: end, wasMoved: false, items: [], told });
    }
    const stay = stays.get(client);
    if (!stay) continue;
    if (event.type === 'moved') stay.wasMoved = true;
    if (event.type === 'closed') stay.to = t;
    if (event.type === 'item') stay.items.push({ item: event.item, t, by: event.by });
    if (event.type === 'told') stay.told[event.what] += event.items;
  }
  return [...stays.values()];
}

/** Of clients with the SDK, all connections as one: it counts what is missing between them too. */
function livesOf(stays: readonly Stay[]): Stay[] {
  const lives = new Map<string, Stay>();
  for (const stay of stays) {
    if (stay.form !== 'sdk') continue;
    const client = stay.client.slice(0, stay.client.lastIndexOf('#'));
    const life = lives.get(client);
    if (!life) lives.set(client, { ...stay, client, told: { ...stay.told }, items: [...stay.items] });
    else {
      life.to = stay.to;
      life.items.push(...stay.items);
      life.told.gap += stay.told.gap;
    }
  }
  return [...lives.values()];
}

/** The line about rooms without history that a run ends with. */
export function lossLineOf({
  connections,
  published,
  received,
  told,
  cutOff,
  untold,
  overtold,
  gaps,
  twice,
  disorder,
}: LossVerdict): string {
  return [
    `rooms without history: ${connections} connections, published ${published}, received ${received}, told ${told}`,
    `cut off ${cutOff}, untold ${untold}, told too much ${overtold}, gaps of the SDK ${gaps}`,
    `twice ${twice}, disorder ${disorder}`,
  ].join(', ');
}
