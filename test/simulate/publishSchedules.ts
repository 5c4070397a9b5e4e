import assert from 'node:assert/strict';
import { SimulatedClock } from '@pushcluster/client/simulation.ts';
import { SimulatedBus } from '@pushcluster/gateway/simulation/cluster.ts';
import { type Sabotage, SimulatedHistory } from '@pushcluster/gateway/simulation/simulatedHistory.ts';
import { HistoryPublisher } from '@pushcluster/logic/history/historyPublisher.ts';
import { RoomHistories } from '@pushcluster/logic/history/roomHistories.ts';
import { CounterAnnouncements } from '@pushcluster/logic/publish/counterAnnouncements.ts';
import { ItemCounters } from '@pushcluster/logic/publish/itemCounters.ts';
import { PublisherHeartbeat } from '@pushcluster/logic/publish/publisherHeartbeat.ts';
import { STAT_INTERVAL_MS } from '@pushcluster/protocol/control.ts';
import type { Position } from '@pushcluster/protocol/frames.ts';
import { decodePush, encodePush, joinItems } from '@pushcluster/protocol/push.ts';
import { type HistoryPolicy, historyOf } from '@pushcluster/protocol/roomPolicies.ts';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import { BusUnavailable, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import fc from 'fast-check';

/**
 * For tests: what logic says of pushes to rooms with history, held against chance. The real publishers of two logic pods, in
 * virtual time, on a model of JetStream with its faults, and backends that repeat a push at the other pod. A push that is
 * acknowledged is in the history once, at the place that was told; one that is refused is not, and never will be; "unknown"
 * is said only where an attempt had no answer; and of one pod and room, pushes are in the history in the order in which they
 * were made.
 */

const ROOMS = ['r', 's'];
const PODS = 2;
/** Milliseconds in which things happen, and for which a push is tried. */
const [BUSY_MS, TIMEOUT_MS] = [12_000, 10_000];
/** Milliseconds after which nothing happens any more: a push waits for those before it, and is repeated once. */
const OVER_MS = BUSY_MS + 4 * TIMEOUT_MS;
const SETTINGS = Settings.parse({ rooms: [{ match: '*', history: { messages: 1_000 } }] });
const POLICY = historyOf(SETTINGS.rooms[0]!) as HistoryPolicy;
const LIMITS = { messages: 1_000, maxAge: 3_600_000 };
const subjects = new Subjects('pushcluster');

type Event = { at: number } & (
  | { what: 'push'; pod: number; room: string; parts: number; hasId: boolean }
  | { what: 'crash'; tail: number; silentMs: number }
  | { what: 'silence'; ms: number }
  | { what: 'depose'; ms: number }
  | { what: 'outage'; pod: number; ms: number }
  | { what: 'behind'; pod: number; count: number; ms: number }
  | { what: 'recreate'; ms: number }
  | { what: 'rollBack'; count: number; ms: number[] }
  | { what: 'unaware'; ms: number }
  | { what: 'restart'; pod: number; ms: number }
);
export type PublishPlan = { busDelays: number[]; random: number; events: Event[] };

type Outcome = { stored: Position } | { failure: unknown };
/** An attempt of a backend: a push without an id has one. */
type Attempt = { pod: number; outcome?: Outcome };
type Push = { number: number; at: number; room: string; parts: number; hasId: boolean; attempts: Attempt[] };

class LogicPod {
  readonly bus: SimulatedBus;
  readonly #publisher: HistoryPublisher;
  readonly #history: SimulatedHistory;
  /** What a gateway reported last. */
  readonly #reports = { arriving: undefined, reached: new Map<string, number>(), connected: () => {} };

  constructor(name: string, simulated: SimulatedClock, delay: number, history: SimulatedHistory) {
    this.#history = history;
    const keepReporting = () => {
      this.#report();
      simulated.after(STAT_INTERVAL_MS, keepReporting);
    };
    keepReporting();
    const clock = {
      ...{ now: () => simulated.now(), wall: () => simulated.now() },
      after: (ms: number, run: () => void) => simulated.after(ms, run),
      soon: (run: () => void) => void simulated.after(0, run),
    };
    this.bus = new SimulatedBus(simulated, delay, () => {});
    const store = history.logicStoreOf(this.bus, (bytes) => numberIn(bytes));
    const log = { error: () => {}, info: () => {} };
    const reports = this.#reports;
    this.#publisher = new HistoryPublisher({
      ...{ store, subjects, clock, now: clock.now, timeout: () => TIMEOUT_MS },
      histories: new RoomHistories({ store, bus: this.bus, settings: () => SETTINGS, log, clock, reports }),
      heartbeat: new PublisherHeartbeat(this.bus, subjects.beat, name, { now: clock.now, monotonic: clock.now }),
      counters: new ItemCounters(name, clock.now),
      announcements: new CounterAnnouncements(this.bus, clock.now),
      ...{ onStored: () => {}, onRetry: () => {}, onDuplicate: () => {}, onRefused: () => {} },
    });
  }

  /** The bus is there again, and gateways have reported. */
  mend() {
    this.#report();
    this.bus.mend();
  }

  #report() {
    this.#reports.reached = new Map(this.#history.reached);
  }

  publish({ number, room, parts, hasId }: Push): Promise<Position> {
    const id = hasId ? `${number}` : '';
    const messages = Array.from({ length: parts }, (_, part) => ({
      itemCount: 1,
      retriable: hasId,
      encode: (numbering: object) =>
        encodePush({
          ...(numbering as Parameters<typeof encodePush>[0]),
          ...{ urgent: false, id, items: joinItems([Buffer.from(JSON.stringify(number * 10 + part))]) },
        }),
    }));
    return this.#publisher.publish(POLICY, room, messages, id);
  }
}

/** Ten times the number of the push, and the part of it that this message is. */
function numberIn(bytes: Uint8Array): number {
  return Number(Buffer.from(decodePush(bytes).items.bytes).toString());
}

async function play({ busDelays, events }: PublishPlan, mistake: Sabotage | undefined) {
  const clock = new SimulatedClock();
  const history = new SimulatedHistory(clock, LIMITS, mistake);
  const pods = Array.from({ length: PODS }, (_, i) => new LogicPod(`p${i}`, clock, busDelays[i]!, history));
  const killed = pods.map(() => Promise.withResolvers<void>());
  const pushes: Push[] = [];
  const attempt = async (push: Push, pod: number): Promise<void> => {
    const made: Attempt = { pod };
    push.attempts.push(made);
    const answered = pods[pod]!.publish(push).then(
      (stored) => ({ stored }),
      (failure: unknown) => ({ failure }),
    );
    const lost = killed[pod]!.promise.then(() => ({ failure: new BusUnconfirmed('the pod was killed') }));
    made.outcome = await Promise.race([answered, lost]);
    // As a backend does that got a 503, at the other pod.
    if (push.hasId && 'failure' in made.outcome && push.attempts.length === 1) await attempt(push, 1 - pod);
  };
  const away = (pod: number, ms: number) => {
    pods[pod]!.bus.cut();
    clock.after(ms, () => pods[pod]!.mend());
  };
  const act = (event: Event) => {
    switch (event.what) {
      case 'push': {
        const { pod, room, parts, hasId } = event;
        const push: Push = { number: pushes.length + 1, at: clock.now(), room, parts, hasId, attempts: [] };
        pushes.push(push);
        void attempt(push, pod);
        return;
      }
      case 'crash':
        history.crash(event.tail);
        if (event.silentMs > 0) history.depose(event.silentMs);
        return;
      case 'silence':
        return history.silence(event.ms);
      case 'depose':
        return history.depose(event.ms);
      case 'outage':
        return away(event.pod, event.ms);
      case 'behind':
        return history.fallBehind(pods[event.pod]!.bus, event.count, event.ms);
      case 'recreate':
        return history.recreate(event.ms);
      case 'rollBack':
        history.rollBack(event.count);
        // Its servers have restarted.
        for (const i of pods.keys()) away(i, event.ms[i]!);
        return;
      case 'unaware':
        return history.unaware(event.ms);
      case 'restart':
        pods[event.pod]!.bus.cut();
        killed[event.pod]!.resolve();
        history.unanswered++;
        killed[event.pod] = Promise.withResolvers();
        pods[event.pod] = new LogicPod(`p${event.pod}-${clock.now()}`, clock, busDelays[event.pod]!, history);
        return away(event.pod, event.ms);
    }
  };
  await clock.advance(1_000);
  for (const event of events) clock.after(event.at, () => act(event));
  await clock.advance(OVER_MS);
  return { history, pushes };
}

function assertHolds({ history, pushes }: Awaited<ReturnType<typeof play>>) {
  const { pushes: stored } = history.lines.at(-1)!;
  const isReplaced = history.replacedAt.length > 0;
  for (const push of pushes) {
    const { number, room, parts, attempts } = push;
    const who = `push ${number}`;
    const places = Array.from({ length: parts }, (_, part) =>
      stored.filter((each) => each.number === number * 10 + part),
    );
    const outcomes = attempts.map(({ outcome }) => outcome);
    assert.ok(!outcomes.includes(undefined), `${who} is answered`);
    const isStored = places.some(({ length }) => length > 0);
    for (const found of places) {
      assert.ok(found.length <= 1, `${who} is stored ${found.length} times`);
      assert.ok(found.every((each) => each.room === room));
    }
    for (const outcome of outcomes as Outcome[]) {
      if ('stored' in outcome) {
        const { epoch, seq } = outcome.stored;
        const isThere = (line: { pushes: typeof stored }) =>
          line.pushes.some((each) => each.seq === seq && each.number === number * 10 + parts - 1);
        // It may have been set back, or made anew, since. Logic may say for a second which epoch it had before.
        const lines = isReplaced ? history.lines : history.lines.slice(-1);
        assert.ok(
          lines.some((line, i) => isThere(line) && lines.slice(0, i + 1).some((before) => before.epoch === epoch)),
          `${who} is where it was said to be`,
        );
        if (isReplaced) continue;
        assert.deepEqual(
          places.map(({ length }) => length),
          places.map(() => 1),
          `${who} is stored`,
        );
      } else if (outcome.failure instanceof BusUnavailable) {
        // Of two attempts, the other one may have stored it.
        if (attempts.length === 1) assert.ok(!isStored, `${who} is not stored, as was said`);
      } else {
        assert.ok(outcome.failure instanceof BusUnconfirmed, `${who}: ${outcome.failure}`);
      }
    }
  }
  assertDistinct({ history, pushes });
  const epochs = new Set(history.lines.map(({ epoch }) => epoch)).size;
  assert.ok(epochs <= 1 + history.replacedAt.length, `${epochs} epochs, ${history.replacedAt.length} reasons`);
  if (isReplaced) return;
  for (let pod = 0; pod < PODS; pod++)
    for (const room of ROOMS) {
      // What was repeated at the other pod is that pod's too.
      const own = new Set(
        pushes
          .filter(({ attempts, room: r }) => r === room && attempts.length === 1 && attempts[0]!.pod === pod)
          .map(({ number }) => number),
      );
      const order = stored.filter((each) => own.has(Math.floor(each.number / 10))).map((each) => each.number);
      assert.deepEqual(
        order,
        [...order].sort((a, b) => a - b),
        `pushes of pod ${pod} to ${room} are in order`,
      );
    }
}

/**
 * Two pushes are never told the same place. One with an id that was stored without an answer may have been stored by an
 * earlier request: nobody can tell whether that was before the history was set back. The same is true of an attempt without
 * an answer that was under way while the history was set back: it may have been stored before.
 */
function assertDistinct({ history, pushes }: Awaited<ReturnType<typeof play>>) {
  const told = new Map<string, Push>();
  for (const push of pushes.filter(({ hasId }) => !hasId || history.unanswered === 0))
    for (const { outcome } of push.attempts) {
      if (!outcome || 'failure' in outcome) continue;
      const place = `${outcome.stored.epoch} ${outcome.stored.seq}`;
      const other = told.get(place) ?? push;
      const wereUnderWay = history.replacedAt.some((at) => push.at < at && other.at < at);
      if (!(history.unanswered > 0 && wereUnderWay))
        assert.equal(other.number, push.number, `${place} is told of two pushes`);
      told.set(place, push);
    }
}

/** Whether somebody was told "unknown" although every attempt had an answer. */
function assertKnown({ history, pushes }: Awaited<ReturnType<typeof play>>) {
  if (history.unanswered > 0 || history.replacedAt.length > 0) return;
  const unknown = pushes.filter(({ attempts }) =>
    attempts.some(({ outcome }) => outcome && 'failure' in outcome && outcome.failure instanceof BusUnconfirmed),
  );
  // A push of two messages may end between them.
  assert.deepEqual(
    unknown.filter(({ parts }) => parts === 1),
    [],
    'every attempt had an answer',
  );
}

/** Plays a schedule. Rejects if something was said that is not true. */
export async function publishes(plan: PublishPlan, mistake?: Sabotage): Promise<void> {
  const played = await play(plan, mistake);
  assertHolds(played);
  assertKnown(played);
}

const int = (min: number, max: number) => fc.integer({ min, max });
const at = int(0, BUSY_MS);
const ms = int(50, 9_000);
const pod = int(0, PODS - 1);
const what = <Name extends Event['what']>(name: Name) => fc.constant(name);
const one = { pod, room: fc.constantFrom(...ROOMS), parts: int(1, 2), hasId: fc.boolean() };
const push = fc.record({ at, what: what('push'), ...one });
/** Pushes in one moment, of which one waits for the other. */
const volley = fc
  .tuple(at, fc.array(fc.record(one), { minLength: 2, maxLength: 6 }))
  .map(([begins, all]) => all.map((each, i): Event => ({ at: begins + i, what: 'push', ...each })));
const faults: fc.Arbitrary<Event>[] = [
  fc.record({ at, what: what('crash'), tail: int(1, 4), silentMs: fc.constantFrom(0, 500, 6_000) }),
  fc.record({ at, what: what('silence'), ms }),
  fc.record({ at, what: what('depose'), ms }),
  fc.record({ at, what: what('outage'), pod, ms }),
  fc.record({ at, what: what('behind'), pod, count: int(1, 5), ms: int(50, 1_500) }),
];
const another: fc.Arbitrary<Event>[] = [
  fc.record({ at, what: what('recreate'), ms: fc.constantFrom(0, 300, 3_000) }),
  fc.record({
    ...{ at, what: what('rollBack'), count: int(1, 6) },
    ms: fc.array(int(50, 4_000), { minLength: PODS, maxLength: PODS }),
  }),
  fc.record({ at, what: what('unaware'), ms: int(50, 10_000) }),
  fc.record({ at, what: what('restart'), pod, ms: int(50, 4_000) }),
];

function plans(events: fc.Arbitrary<Event>[]): fc.Arbitrary<PublishPlan> {
  return fc.record({
    busDelays: fc.array(int(1, 50), { minLength: PODS, maxLength: PODS }),
    random: int(1, 2_000_000_000),
    events: fc
      .tuple(
        fc.array(push, { minLength: 1, maxLength: 10 }),
        fc.array(volley, { minLength: 1, maxLength: 3 }).map((volleys) => volleys.flat()),
        fc.array(fc.oneof(...events), { minLength: 1, maxLength: 6 }),
      )
      .map((all) => all.flat()),
  });
}

export const PUBLISH_PLANS = { faults: plans(faults), another: plans([...faults, ...another]) };
