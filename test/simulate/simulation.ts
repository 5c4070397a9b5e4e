import { defaultBackoff, retryDelay } from '@pushcluster/client/backoff.ts';
import { proportionalShares } from '@pushcluster/gateway/admission/proportionalShares.ts';
import { DrainSchedule } from '@pushcluster/gateway/moves/drainSchedule.ts';
import { ASSUMED, MEASURED } from '@pushcluster/gateway/plan/constants.ts';
import { type Inputs, type Plan, plan } from '@pushcluster/gateway/plan/model.ts';
import { SURGE_PERCENT } from '@pushcluster/operator/pushcluster/desired/gateway.ts';
import { Chance } from '../harness/chance.ts';
import { Returns } from './returns.ts';

/**
 * A stepwise simulation of a cluster during an event. Clients are only counted. The pace of drains and the clients'
 * back-off are the product's code; loads follow the constants of the capacity plan. The same seed gives the same run.
 */

export type Drain = { rate: number; settle: number; timeout: number };

export type Cluster = {
  people: number;
  gateways: number;
  /** Messages per second for each client. */
  messages: number;
  /** CPU cores of a gateway's shards, and the share of a core that each client needs. */
  shardCores: number;
  cpuPerPerson: number;
  /** Maximum handshakes per second of a gateway (connections.acceptRate); 0: limited only by its CPU. */
  acceptRate: number;
  /** `drain.rate` is connections per second; all other times are milliseconds. */
  drain: Drain;
  maxDelay: number;
  /** Milliseconds from the creation of a pod until it is ready. */
  startup: number;
  /** Whether moving clients keep their old connection for a while, as the SDK does. */
  linger: boolean;
};

export type Scenario = 'failure' | 'rollout' | 'storm';

/** The state at one moment. Shares are 0 to 1. */
export type Sample = {
  /** Seconds since the start of the simulation. */
  at: number;
  /** Clients with a connection. */
  online: number;
  /** Connections of the gateways that existed before the event, and of the later ones. */
  before: number;
  after: number;
  /** Accepted and refused handshakes per second. */
  handshakes: number;
  refused: number;
  /** Share of the CPU of the busiest gateway's shards, and connections of the fullest gateway. */
  busiest: number;
  fullest: number;
  /** Gateways that were not told to leave: all of them, and the ready ones. */
  staying: number;
  ready: number;
};

export type Result = {
  samples: Sample[];
  /** Seconds from the event until all clients have a connection and, in a rollout, the last old gateway has ended. */
  recovered: number;
  /** Seconds from the event until 99 % of the clients have a connection. */
  mostBack: number;
  /** Maxima of any gateway: share of its shards' CPU, and connections. */
  peakCpu: number;
  peakConnections: number;
  peakHandshakes: number;
  refused: number;
  /** Clients that lost their connection, and the items of rooms without history that each of them missed. */
  cut: number;
  missedEach: number;
  /** Clients by the number of their moves. */
  moved: { once: number; twice: number; more: number };
  /** In a rollout: the greatest number of connections that were asked to move within a second. */
  busiestSecond: number;
};

/** Milliseconds of one step; a gateway paces a drain with the same step. */
const STEP = 100;
const EVENT_AT = 5_000;
const QUIET_AFTER = 10_000;
const LONGEST = 3_600_000;
/** The SDK keeps its old connection for this share of RECONNECT's `withinMs`; see `client/reconnector.ts`. */
const LINGER = 0.75;
/** The close code that a browser reports for a connection that broke, or that was refused before it was open. */
const ABNORMAL = 1006;
/** Round trips of a reconnect: TCP, the upgrade, JOIN. */
const ROUND_TRIPS = 3;

/** Numbers of clients by their number of moves: none, one, two, more. */
type People = number[];
const NOBODY: readonly number[] = [0, 0, 0, 0];

type Gateway = {
  /** Whether the gateway existed before the event. */
  old: boolean;
  readyAt: number;
  /** Time at which the gateway was told to leave, and its pace from the end of settle. */
  leavingAt?: number;
  pace?: DrainSchedule;
  gone: boolean;
  /** Clients that were not asked to move. */
  stay: People;
  /** Old connections of clients that have moved: the number that closes at each later step. */
  lingering: Map<number, number>;
  /** Handshakes accepted in this step. */
  accepted: number;
};

/** The cluster that the plan of `inputs` requires, with the product's default settings. */
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

/**
 * Simulates `scenario`, which begins after 5 s, until 10 s after the cluster has recovered.
 * Throws if the cluster has not recovered after an hour.
 */
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
   * The Deployment controller: creates as many new pods as the surge allows. When all of these are ready and the
   * Service has dropped the old pods, it tells one old pod to leave for each ready new pod.
   */
  #rollOut() {
    const wanted = this.#cluster.gateways;
    const most = wanted + this.#surge;
    const staying = this.#gateways.filter((each) => each.leavingAt === undefined && !each.gone);
    const fresh = staying.filter((each) => !each.old);
    for (let count = staying.length, made = fresh.length; count < most && made < wanted; count++, made++)
      this.#gateways.push(gateway({ old: false, readyAt: this.#now + this.#cluster.startup, people: 0 }));
    const ready = staying.filter((each) => each.readyAt <= this.#now);
    // maxUnavailable is 0: there are never fewer ready pods than wanted. Pods that were told to leave do not count.
    if (!this.#isForNew(ready)) return;
    for (const leaver of ready.filter((each) => each.old).slice(0, Math.max(0, ready.length - wanted)))
      leaver.leavingAt = this.#now;
  }

  get #surge(): number {
    return Math.ceil((this.#cluster.gateways * SURGE_PERCENT) / 100);
  }

  /** The operator: sends new connections only to new gateways as soon as a full surge of new gateways is ready. */
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
      // Moving clients open their new connection before they close the old one.
      const [never = 0, once = 0, twice = 0, more = 0] = movers;
      this.#land([0, never, once, twice + more]);
      if (linger && count > 0) {
        const until = this.#now + Math.ceil((withinMs * LINGER) / STEP) * STEP;
        each.lingering.set(until, (each.lingering.get(until) ?? 0) + count);
      }
      // At the timeout the remaining connections are cut; their clients reconnect like others.
      if (this.#now >= each.pace.end) this.#cutOff(take(each, sum(each.stay)));
      if (sum(each.stay) === 0 && each.lingering.size === 0) each.gone = true;
    }
    this.#asked.push(asked);
  }

  /**
   * The number of gateways that share the cluster's pace: those that were told to leave and still have clients to move.
   */
  #sharing(): number {
    return this.#gateways.filter(({ leavingAt, stay }) => leavingAt !== undefined && sum(stay) > 0).length;
  }

  #letGo({ lingering }: Gateway) {
    for (const until of lingering.keys()) if (until <= this.#now) lingering.delete(until);
  }

  /** Cuts connections: each client reconnects with the SDK's back-off. */
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

  /**
   * Distributes clients over the gateways of the Service, as far as these accept handshakes. Returns the number of
   * accepted clients.
   */
  #land(people: People): number {
    const serving = this.#serving();
    if (serving.length === 0) return 0;
    let landed = 0;
    for (const [moves, count] of people.entries()) {
      for (const [i, part] of this.#chance.split(count, serving.length).entries()) {
        const to = serving[i]!;
        // Moving clients keep their old connection until the new one is open, so a full gateway only delays them.
        // Others may be refused.
        const some = moves === 0 ? Math.min(part, Math.max(0, Math.floor(this.#handshakes(to)) - to.accepted)) : part;
        to.stay[moves] = (to.stay[moves] ?? 0) + some;
        to.accepted += some;
        landed += some;
      }
    }
    return landed;
  }

  /** Gateways of the Service: old pods are removed once enough new pods are ready. */
  #serving(): Gateway[] {
    const ready = this.#gateways.filter(
      (each) => !each.gone && each.leavingAt === undefined && each.readyAt <= this.#now,
    );
    const isForNew = this.#scenario === 'rollout' && this.#isForNew(ready);
    return isForNew ? ready.filter((each) => !each.old) : ready;
  }

  /** Handshakes that a gateway accepts in a step: limited by acceptRate, and by the CPU that deliveries leave. */
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

/** Takes `count` of the clients that stay, in proportion to their numbers of moves, rounded to whole clients. */
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
