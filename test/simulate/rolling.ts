import { DrainSchedule } from '@pushcluster/gateway/moves/drainSchedule.ts';
import { HOLD_SECONDS, SURGE_PERCENT } from '@pushcluster/operator/pushcluster/desired/gateway.ts';
import type { GatewayPod } from '@pushcluster/operator/pushcluster/gatewayPod.ts';
import { type PodState, scalePlan } from '@pushcluster/operator/pushcluster/scalePolicy.ts';
import type { Chance } from '../harness/chance.ts';

/**
 * A stepwise simulation of a rollout. The operator's plan and the gateways' pace are the product's code; the Deployment
 * controller, the Service and the clients are modelled with simple rules and random choices.
 */

export type Course = {
  gateways: number;
  people: number;
  /** Pace of the cluster, connections per second. */
  rate: number;
  /**
   * Milliseconds: a gateway that was told to end first accepts connections for `settle`, then drains for at most
   * `timeout`.
   */
  settle: number;
  timeout: number;
  /** Maximum milliseconds until a gateway is ready. */
  startup: number;
  /** Number of gateways that fit on the nodes beside the wanted ones. Terminating gateways keep their place. */
  room: number;
  /** Times without a running operator, milliseconds. */
  away: readonly { from: number; to: number }[];
  /** Changes of the wanted number of gateways. */
  scales: readonly { at: number; to: number }[];
  /** Times at which a random gateway, old or new, ends without draining. */
  deaths: readonly number[];
  /** Times at which the new gateways fail their readiness probe. */
  fails: readonly { from: number; to: number }[];
  /** Share of all clients that leave per second, each replaced by a new client. */
  churn: number;
};

export type Outcome = {
  /** Only new gateways are left. A scale-down begins after that. */
  isDone: boolean;
  /** Number of clients by the number of their moves. */
  moved: readonly number[];
  /** The greatest number of moves within a second. */
  busiestSecond: number;
  /** The minimum of ready gateways that were not told to end, minus the number that the Deployment asked for. */
  leastReady: number;
  /** The minimum number of gateways to which the Service sent connections. */
  leastServing: number;
};

const STEP = 500;
/** Milliseconds until the Service follows a change of labels. `settle` exists for this delay, and is longer. */
const LAG = 1_000;
const LONGEST = 3_600_000;
const BEGIN = Date.UTC(2026, 0, 1);

type Pod = GatewayPod & {
  /**
   * Times at which the kubelet starts the pod and at which the pod is ready. `runsAt` is undefined while the pod has no
   * node.
   */
  runsAt: number | undefined;
  readyAt: number;
  /** Time of the last change of the pod's serving label. */
  servingSince: number;
  leavingAt: number | undefined;
  pace: DrainSchedule | undefined;
  /** Number of connected clients, by the number of their moves. */
  people: number[];
};

export function roll(course: Course, chance: Chance): Outcome {
  return new Rolling(course, chance).run();
}

class Rolling {
  readonly #course: Course;
  readonly #chance: Chance;
  #pods: Pod[] = [];
  #now = 0;
  #made = 0;
  #wanted: number;
  #replicas: number;
  #holdMs = HOLD_SECONDS * 1_000;
  #moves: number[] = [];
  #leastReady = 0;
  #leastServing: number;
  /** The SDK keeps its old connection for this share of RECONNECT's `withinMs`; see `client/reconnector.ts`. */
  #homeless: number[] = [];

  constructor(course: Course, chance: Chance) {
    this.#course = course;
    this.#chance = chance;
    this.#wanted = course.gateways;
    this.#replicas = course.gateways;
    this.#leastServing = course.gateways;
    for (let i = 0; i < course.gateways; i++) {
      const old = this.#make(false);
      Object.assign(old, { runsAt: -1, readyAt: -1, servingSince: -LAG });
    }
    this.#live();
    this.#homeless = new Array<number>(course.people).fill(0);
    this.#land();
  }

  run(): Outcome {
    for (; this.#now < LONGEST && !this.#isDone; this.#now += STEP) {
      this.#wanted = this.#course.scales.findLast(({ at }) => at <= this.#now)?.to ?? this.#wanted;
      if (this.#course.deaths.some((at) => at >= this.#now && at < this.#now + STEP)) this.#die();
      this.#live();
      if (!this.#course.away.some(({ from, to }) => from <= this.#now && this.#now < to)) this.#operate();
      this.#control();
      this.#comeAndGo();
      this.#moveAway();
      this.#land();
      this.#measure();
    }
    const moved: number[] = [];
    for (const { people } of this.#pods) for (const [i, count] of people.entries()) moved[i] = (moved[i] ?? 0) + count;
    const perSecond = 1_000 / STEP;
    const seconds = this.#moves.map((_, i) => sum(this.#moves.slice(i, i + perSecond)));
    return {
      isDone: this.#isDone,
      moved: Array.from(moved, (count) => count ?? 0),
      busiestSecond: Math.max(0, ...seconds),
      leastReady: this.#leastReady,
      leastServing: this.#leastServing,
    };
  }

  get #isDone(): boolean {
    return this.#pods.every(({ isCurrent }) => isCurrent);
  }

  get #staying(): Pod[] {
    return this.#pods.filter(({ leavingAt }) => leavingAt === undefined);
  }

  #make(isCurrent: boolean): Pod {
    const name = `p${this.#made++}`;
    const pod: Pod = {
      uid: name,
      name,
      isCurrent,
      isReady: false,
      readySince: undefined,
      state: 'pending',
      isServing: true,
      drainSince: undefined,
      deletionCost: undefined,
      counted: undefined,
      unknownSince: undefined,
      isFuller: undefined,
      isAsked: true,
      isSilent: false,
      runsAt: undefined,
      readyAt: 0,
      servingSince: this.#now,
      leavingAt: undefined,
      pace: undefined,
      people: [],
    };
    this.#pods.push(pod);
    return pod;
  }

  /**
   * Starts pods that find a node, makes started pods ready, and removes terminating pods that are empty or at their
   * timeout.
   */
  #live() {
    const { settle, timeout, startup, room, fails } = this.#course;
    const isEmpty = ({ people }: Pod) => sum(people) === 0;
    this.#pods = this.#pods.filter((pod) => {
      const { leavingAt, state } = pod;
      if (leavingAt === undefined || (state === 'running' && this.#now < leavingAt + settle)) return true;
      const isOver = isEmpty(pod) || this.#now >= leavingAt + settle + timeout;
      if (isOver) this.#cut(pod);
      return !isOver;
    });
    const isFailing = fails.some(({ from, to }) => from <= this.#now && this.#now < to);
    for (const pod of this.#pods) {
      const placed = this.#pods.filter(({ runsAt }) => runsAt !== undefined).length;
      if (pod.runsAt === undefined && placed < this.#replicas + room) {
        pod.runsAt = this.#now;
        pod.readyAt = this.#now + STEP + this.#chance.next() * startup;
      }
      if (pod.runsAt === undefined) continue;
      pod.state = 'running';
      const isReady = this.#now >= pod.readyAt && !(pod.isCurrent && isFailing && pod.leavingAt === undefined);
      if (isReady && !pod.isReady) pod.readySince = BEGIN + Math.floor(this.#now / 1_000) * 1_000;
      if (!isReady) pod.readySince = undefined;
      pod.isReady = isReady;
      pod.counted = { connections: sum(pod.people), at: BEGIN + this.#now };
    }
  }

  #operate() {
    const pods = this.#staying;
    const known = { isSettled: true, isSeen: true, isAskedAnew: true, terminating: 0 };
    const drain = { settle: this.#course.settle, timeout: this.#course.timeout };
    const wanted = { replicas: this.#wanted, drain, rebalance: undefined };
    const planned = scalePlan({ pods, replicas: this.#replicas, ...known }, wanted, BEGIN + this.#now);
    this.#scale(planned.replicas);
    this.#holdMs = planned.releasesOld ? 0 : HOLD_SECONDS * 1_000;
    // The operator may end at any moment, also after only some of its changes.
    const isEnding = this.#course.away.some(({ from }) => from > this.#now && from <= this.#now + STEP);
    for (const [uid, state] of planned.changes) {
      if (isEnding && this.#chance.next() < 0.5) return;
      this.#patch(
        pods.find((pod) => pod.uid === uid),
        state,
      );
    }
  }

  #patch(pod: Pod | undefined, state: PodState) {
    if (!pod) return;
    if (state.isServing !== pod.isServing) pod.servingSince = this.#now;
    Object.assign(pod, state);
  }

  /** If a Deployment grows during a rollout, its old and its new ReplicaSet grow proportionally. */
  #scale(replicas: number) {
    const staying = this.#staying;
    const old = staying.filter(({ isCurrent }) => !isCurrent).length;
    const more = Math.round((Math.max(0, replicas - this.#replicas) * old) / Math.max(1, staying.length));
    for (let i = 0; i < more; i++) this.#make(false);
    this.#replicas = replicas;
  }

  /**
   * The Deployment controller: respects the surge and the minimum of available pods, and removes pods that are not
   * ready first.
   */
  #control() {
    const asked = this.#replicas;
    const most = asked + Math.ceil((asked * SURGE_PERCENT) / 100);
    const count = (isCurrent: boolean) => this.#staying.filter((pod) => pod.isCurrent === isCurrent).length;
    while (count(true) < asked && this.#staying.length < most) this.#make(true);
    const since = BEGIN + this.#now - this.#holdMs;
    const available = this.#staying.filter(({ readySince }) => readySince !== undefined && readySince <= since);
    const old = this.#staying.filter(({ isCurrent }) => !isCurrent);
    // Among ready pods, the Deployment controller chooses by rules that do not depend on connections: here at random.
    const order = new Map(old.map((pod) => [pod, Number(pod.isReady) + this.#chance.next() / 2]));
    old.sort((a, b) => (order.get(a) ?? 0) - (order.get(b) ?? 0));
    let free = available.length - asked;
    for (const pod of old) {
      if (free <= 0 && available.includes(pod)) break;
      if (free < 0) break;
      pod.leavingAt = this.#now;
      if (available.includes(pod)) free--;
    }
  }

  #die() {
    const pods = this.#staying;
    const dead = pods[Math.floor(this.#chance.next() * pods.length)];
    if (!dead) return;
    this.#cut(dead);
    this.#pods = this.#pods.filter((pod) => pod !== dead);
    // The ReplicaSet creates another pod of the same version.
    this.#make(dead.isCurrent);
  }

  #cut(pod: Pod) {
    for (const [moves, count] of pod.people.entries()) for (let i = 0; i < count; i++) this.#homeless.push(moves);
    pod.people = [];
  }

  #comeAndGo() {
    const { people, churn } = this.#course;
    const count = (people * churn * STEP) / 1_000;
    for (let i = this.#chance.next(); i < count; i++) {
      const pod = this.#pods[Math.floor(this.#chance.next() * this.#pods.length)];
      const who = pod && this.#takeOne(pod);
      // A new client replaces the one that left.
      if (who !== undefined) this.#homeless.push(0);
    }
  }

  #takeOne({ people }: Pod): number | undefined {
    let at = Math.floor(this.#chance.next() * sum(people));
    for (const [moves, count] of people.entries()) {
      if (at < count) {
        people[moves] = count - 1;
        return moves;
      }
      at -= count;
    }
    return undefined;
  }

  #moveAway() {
    const { settle, timeout, rate } = this.#course;
    const leaving = this.#pods.filter(({ leavingAt }) => leavingAt !== undefined && this.#now >= leavingAt + settle);
    const busy = leaving.filter(({ people }) => sum(people) > 0).length;
    let moved = 0;
    for (const pod of leaving) {
      pod.pace ??= new DrainSchedule(
        () => rate / Math.max(1, busy),
        this.#now,
        timeout,
        () => 1_000,
      );
      const { count } = pod.pace.step(this.#now, sum(pod.people));
      for (let i = 0; i < count; i++) {
        const moves = this.#takeOne(pod);
        if (moves === undefined) break;
        this.#homeless.push(moves + 1);
        moved++;
      }
    }
    this.#moves.push(moved);
  }

  /** The Service sends clients without a connection to ready pods, by the labels of LAG milliseconds ago. */
  #land() {
    const serving = this.#pods.filter(({ isReady, isServing, servingSince, leavingAt }) => {
      const isSeen = this.#now - servingSince >= LAG ? isServing : !isServing;
      return isReady && isSeen && leavingAt === undefined;
    });
    if (serving.length === 0) return;
    for (const moves of this.#homeless) {
      const { people } = serving[Math.floor(this.#chance.next() * serving.length)]!;
      for (let i = people.length; i <= moves; i++) people.push(0);
      people[moves]!++;
    }
    this.#homeless = [];
  }

  #measure() {
    const ready = this.#staying.filter(({ isReady }) => isReady);
    this.#leastReady = Math.min(this.#leastReady, ready.length - Math.min(this.#replicas, this.#course.gateways));
    this.#leastServing = Math.min(this.#leastServing, ready.filter(({ isServing }) => isServing).length);
  }
}

function sum(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
