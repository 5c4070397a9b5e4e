import { defaultBackoff, retryDelay } from '@pushcluster/client/backoff.ts';
import { proportionalShares } from '@pushcluster/gateway/admission/proportionalShares.ts';
import { DrainSchedule } from '@pushcluster/gateway/moves/drainSchedule.ts';
import { ASSUMED, MEASURED } from '@pushcluster/gateway/plan/constants.ts';
import { type Inputs, type Plan, plan } from '@pushcluster/gateway/plan/model.ts';
import { SURGE_PERCENT } from '@pushcluster/operator/pushcluster/desired/gateway.ts';
import { Chance } from './chance.ts';
import { Returns } from './returns.ts';

/**
 * A cluster stepped through an event: people as numbers, the pace of drains and the clients' back-off by the code that
 * ships, loads by the capacity plan's constants. The same seed gives the same run.
 */

export type Drain = { rate: number; settle: number; timeout: number };

export type Cluster = {
  people: number;
  gateways: number;
  /** Messages a second that a person is to get. */
  messages: number;
  /** Cores of a gateway's shards, and their seconds of CPU a second for each person. */
  shardCores: number;
  cpuPerPerson: number;
  /** Handshakes a second of a gateway at most (connections.acceptRate); 0: as many as its cores take. */
  acceptRate: number;
  /** Times in milliseconds. */
  drain: Drain;
  maxDelay: number;
  /** Milliseconds from a pod's making to its readiness. */
  startup: number;
  /** Whether those who are asked to move are listened to a while longer on their old connection, as the SDK does. */
  linger: boolean;
};

export type Scenario = 'failure' | 'rollout' | 'storm';

/** One moment. Shares are of 1. */
export type Sample = {
  /** Seconds. */
  at: number;
  /** People with a connection. */
  online: number;
  /** Connections of gateways as they were, and of those that came. */
  before: number;
  after: number;
  /** A second. */
  handshakes: number;
  refused: number;
  /** CPU of the busiest gateway's shards, and connections of the fullest. */
  busiest: number;
  fullest: number;
  /** Gateways that were not told to leave: all, and those that are ready. */
  staying: number;
  ready: number;
};

export type Result = {
  samples: Sample[];
  /** Seconds from the event until everyone has a connection and, in a rollout, the last old gateway is gone. */
  recovered: number;
  /** Seconds until 99 % were back. */
  mostBack: number;
  /** Busiest gateway: share of its shards' cores, connections. */
  peakCpu: number;
  peakConnections: number;
  peakHandshakes: number;
  refused: number;
  /** People who were without a connection, and items of rooms without history that each of them missed. */
  cut: number;
  missedEach: number;
  /** People by how often they were asked to move. */
  moved: { once: number; twice: number; more: number };
  /** Of a rollout: the most connections that were asked to move within a second. */
  busiestSecond: number;
};

/** One step, as a gateway paces a drain, milliseconds. */
const STEP = 100;
const EVENT_AT = 5_000;
const QUIET_AFTER = 10_000;
const LONGEST = 3_600_000;
/** SDK: what a moving client does. `client/reconnector.ts` says why. */
const LINGER = 0.75;
/** Cut without a word, or refused before it was open: what a browser makes of both. */
const ABNORMAL = 1006;
/** Round trips of a return: TCP, the upgrade, JOIN. */
const ROUND_TRIPS = 3;

/** People by how often they were moved: never, once, twice, more often. */
type People = number[];
const NOBODY: readonly number[] = [0, 0, 0, 0];

type Gateway = {
  /** Whether it was there before the event. */
  old: boolean;
  readyAt: number;
  /** When it was told to leave, and its pace from the end of settle. */
  leavingAt?: number;
  pace?: DrainSchedule;
  gone: boolean;
  /** Who was not asked to move. */
  stay: People;
  /** Connections of people who are on their way elsewhere: how many are closed at each later step. */
  lingering: Map<number, number>;
  /** Handshakes of this step. */
  accepted: number;
};

/** The cluster that the plan of `inputs` asks for, with the settings as shipped. */
export function clusterOf(inputs: Inputs, planned: Plan = plan(inputs)): Cluster {
  if (planned.gateways === undefined) throw new RangeError('no number of gateways is enough for this load');
  const shardCores = Math.max(1, inputs.cores - 1);
  const cpu = planned.limits.find(({ name }) => name === 'cpu')!.used;
  return {
    people: inputs.people,
    gateways: planned.gateways,
    messages: inputs.rate,
    shardCores,
    cpuPerPerson: (cpu * shardCores) / planned.connections,
    acceptRate: 0,
    drain: { rate: 200, settle: 5_000, timeout: 300_000 },
    maxDelay: inputs.window * 1_000,
    startup: ASSUMED.startup * 1_000,
    linger: true,
  };
}

/** Steps `cluster` through `scenario`, which begins after five quiet seconds, until ten seconds after its end. */
export function simulate(cluster: Cluster, scenario: Scenario, seed = 1): Result {
  return new Simulation(cluster, scenario, seed).run();
}

class Simulation {
  readonly #cluster: Cluster;
  readonly #scenario: Scenario;
  readonly #chance: Chance;
  readonly #returns = new Returns(STEP);
  readonly #samples: Sample[] = [];
  #gateways: Gateway[];
  #now = 0;
  #refusedNow = 0;
  #cut = 0;
  #awayMs = 0;
  #asked: number[] = [];
  #mostBackAt: number | undefined;

  constructor(cluster: Cluster, scenario: Scenario, seed: number) {
    this.#cluster = cluster;
    this.#scenario = scenario;
    this.#chance = new Chance(seed);
    const shares = this.#chance.split(cluster.people, cluster.gateways);
    this.#gateways = shares.map((people) => gateway({ old: true, readyAt: 0, people }));
  }

  run(): Result {
    let quietSince: number | undefined;
    for (; this.#now < LONGEST; this.#now += STEP) {
      if (this.#now === EVENT_AT) this.#begin();
      if (this.#scenario === 'rollout' && this.#now >= EVENT_AT) this.#rollOut();
      this.#moveAway();
      this.#comeBack();
      this.#sample();
      if (this.#now > EVENT_AT && this.#settled()) quietSince ??= this.#now;
      else quietSince = undefined;
      if (quietSince !== undefined && this.#now - quietSince >= QUIET_AFTER) break;
    }
    if (quietSince === undefined) throw new Error(`the cluster has not recovered after ${LONGEST / 1_000} s`);
    return this.#result(quietSince);
  }

  #begin() {
    if (this.#scenario === 'failure') {
      const [lost] = this.#gateways;
      if (!lost) return;
      this.#cutOff(take(lost, sum(lost.stay)));
      lost.gone = true;
      this.#gateways.push(gateway({ old: false, readyAt: this.#now + this.#cluster.startup, people: 0 }));
    }
    if (this.#scenario === 'storm') for (const each of this.#gateways) this.#cutOff(take(each, sum(each.stay)));
  }

  /**
   * The Deployment controller: as many new pods as the surge allows; once all of these are ready, and the old ones out of
   * the Service, an old one is told to leave for each that is ready.
   */
  #rollOut() {
    const wanted = this.#cluster.gateways;
    const most = wanted + this.#surge;
    const staying = this.#gateways.filter((each) => each.leavingAt === undefined && !each.gone);
    const fresh = staying.filter((each) => !each.old);
    for (let count = staying.length, made = fresh.length; count < most && made < wanted; count++, made++)
      this.#gateways.push(gateway({ old: false, readyAt: this.#now + this.#cluster.startup, people: 0 }));
    const ready = staying.filter((each) => each.readyAt <= this.#now);
    // maxUnavailable 0: never fewer ready pods than wanted. Who is told to leave does not count.
    if (!this.#isForNew(ready)) return;
    for (const leaver of ready.filter((each) => each.old).slice(0, Math.max(0, ready.length - wanted)))
      leaver.leavingAt = this.#now;
  }

  get #surge(): number {
    return Math.ceil((this.#cluster.gateways * SURGE_PERCENT) / 100);
  }

  /** The operator: newcomers are for new gateways once all that a rollout brings at a time are ready. */
  #isForNew(ready: readonly Gateway[]): boolean {
    return ready.filter((each) => !each.old).length >= this.#surge;
  }

  #moveAway() {
    const { drain, maxDelay, linger } = this.#cluster;
    const somewhere = this.#serving().length > 0;
    let asked = 0;
    for (const each of this.#gateways) {
      this.#letGo(each);
      if (each.gone || each.leavingAt === undefined || this.#now < each.leavingAt + drain.settle) continue;
      each.pace ??= new DrainSchedule(
        () => drain.rate / this.#sharing(),
        this.#now,
        drain.timeout,
        () => maxDelay,
      );
      const { count, withinMs } = each.pace.step(this.#now, somewhere ? sum(each.stay) : 0);
      const movers = take(each, count);
      asked += count;
      // They open another connection before they close theirs.
      const [never = 0, once = 0, twice = 0, more = 0] = movers;
      this.#land([0, never, once, twice + more]);
      if (linger && count > 0) {
        const until = this.#now + Math.ceil((withinMs * LINGER) / STEP) * STEP;
        each.lingering.set(until, (each.lingering.get(until) ?? 0) + count);
      }
      // What is left at the end is cut, and comes back like anybody.
      if (this.#now >= each.pace.end) this.#cutOff(take(each, sum(each.stay)));
      if (sum(each.stay) === 0 && each.lingering.size === 0) each.gone = true;
    }
    this.#asked.push(asked);
  }

  /** One pace for the cluster: those that were told to leave share it, while they have somebody to ask. */
  #sharing(): number {
    return this.#gateways.filter(({ leavingAt, stay }) => leavingAt !== undefined && sum(stay) > 0).length;
  }

  #letGo({ lingering }: Gateway) {
    for (const until of lingering.keys()) if (until <= this.#now) lingering.delete(until);
  }

  /** They have lost theirs: each comes back by the SDK's back-off. */
  #cutOff(people: People) {
    const count = sum(people);
    this.#cut += count;
    const window = retryDelay(0, ABNORMAL, defaultBackoff, 1);
    this.#returns.spread(this.#now, window, count, 1, this.#chance);
  }

  #comeBack() {
    const due = this.#returns.take(this.#now);
    this.#awayMs += this.#returns.away * STEP;
    this.#refusedNow = 0;
    for (const [failures, count] of due.entries()) {
      if (count === 0) continue;
      const refused = count - this.#land([count, 0, 0, 0]);
      this.#refusedNow += refused;
      const window = retryDelay(failures, ABNORMAL, defaultBackoff, 1);
      this.#returns.spread(this.#now, window, refused, failures + 1, this.#chance);
    }
  }

  /** Shares people among the gateways that the Service knows, as far as these take handshakes. Returns how many were taken. */
  #land(people: People): number {
    const serving = this.#serving();
    if (serving.length === 0) return 0;
    let landed = 0;
    for (const [moves, count] of people.entries()) {
      for (const [i, part] of this.#chance.split(count, serving.length).entries()) {
        const to = serving[i]!;
        // Who moves keeps the old connection until the new one stands: it takes its turn. Who was cut can be refused.
        const some = moves === 0 ? Math.min(part, Math.max(0, Math.floor(this.#handshakes(to)) - to.accepted)) : part;
        to.stay[moves] = (to.stay[moves] ?? 0) + some;
        to.accepted += some;
        landed += some;
      }
    }
    return landed;
  }

  /** The Service's: old pods step out once enough new ones are ready. */
  #serving(): Gateway[] {
    const ready = this.#gateways.filter(
      (each) => !each.gone && each.leavingAt === undefined && each.readyAt <= this.#now,
    );
    const isForNew = this.#scenario === 'rollout' && this.#isForNew(ready);
    return isForNew ? ready.filter((each) => !each.old) : ready;
  }

  /** Handshakes that a gateway takes in a step: by its setting, and with the CPU that deliveries leave. */
  #handshakes(each: Gateway): number {
    const { shardCores, cpuPerPerson, acceptRate } = this.#cluster;
    const free = Math.max(0, shardCores - connectionsOf(each) * cpuPerPerson);
    const most = free * MEASURED.handshakes.value;
    return ((acceptRate > 0 ? Math.min(acceptRate, most) : most) * STEP) / 1_000;
  }

  #settled(): boolean {
    if (this.#returns.away > 0) return false;
    return this.#scenario !== 'rollout' || this.#gateways.every((each) => !each.old || each.gone);
  }

  #sample() {
    const { people, shardCores, cpuPerPerson } = this.#cluster;
    const running = this.#gateways.filter((each) => !each.gone);
    const staying = running.filter(({ leavingAt }) => leavingAt === undefined);
    const of = (old: boolean) => sum(running.filter((each) => each.old === old).map(connectionsOf));
    const accepted = sum(running.map((each) => each.accepted));
    const perSecond = 1_000 / STEP;
    const busiest = running.map(
      (each) =>
        (connectionsOf(each) * cpuPerPerson + (each.accepted * perSecond) / MEASURED.handshakes.value) / shardCores,
    );
    const online = people - this.#returns.away;
    if (this.#now > EVENT_AT && this.#mostBackAt === undefined && online >= 0.99 * people) this.#mostBackAt = this.#now;
    this.#samples.push({
      at: this.#now / 1_000,
      online,
      before: of(true),
      after: of(false),
      handshakes: accepted * perSecond,
      refused: this.#refusedNow * perSecond,
      busiest: Math.min(1, Math.max(0, ...busiest)),
      fullest: Math.max(0, ...running.map(connectionsOf)),
      staying: staying.length,
      ready: staying.filter(({ readyAt }) => readyAt <= this.#now).length,
    });
    for (const each of running) each.accepted = 0;
  }

  #result(settledAt: number): Result {
    const samples = this.#samples;
    const moved = NOBODY.map((_, moves) => sum(this.#gateways.map(({ stay }) => stay[moves] ?? 0)));
    const most = (figure: (sample: Sample) => number) => Math.max(...samples.map(figure));
    const away = this.#cut === 0 ? 0 : this.#awayMs / 1_000 / this.#cut + ROUND_TRIPS * ASSUMED.roundTrip;
    return {
      samples,
      recovered: (settledAt - EVENT_AT) / 1_000,
      mostBack: ((this.#mostBackAt ?? EVENT_AT) - EVENT_AT) / 1_000,
      peakCpu: most(({ busiest }) => busiest),
      peakConnections: most(({ fullest }) => fullest),
      peakHandshakes: most(({ handshakes }) => handshakes),
      refused: sum(samples.map(({ refused }) => (refused * STEP) / 1_000)),
      cut: this.#cut,
      missedEach: away * this.#cluster.messages,
      moved: { once: moved[1]!, twice: moved[2]!, more: moved[3]! },
      busiestSecond: Math.max(0, ...this.#asked.map((_, i) => sum(this.#asked.slice(i, i + 1_000 / STEP)))),
    };
  }
}

function gateway({ old, readyAt, people }: { old: boolean; readyAt: number; people: number }): Gateway {
  return { old, readyAt, gone: false, stay: [people, 0, 0, 0], lingering: new Map(), accepted: 0 };
}

function connectionsOf({ stay, lingering }: Gateway): number {
  let count = sum(stay);
  for (const some of lingering.values()) count += some;
  return count;
}

/** Takes `count` of those who stay, of each kind in proportion, as near as whole people allow. */
function take(from: Gateway, count: number): People {
  const taken = proportionalShares(Math.min(count, sum(from.stay)), from.stay);
  for (const [moves, part] of taken.entries()) from.stay[moves]! -= part;
  return taken;
}

function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
