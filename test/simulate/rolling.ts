import { DrainSchedule } from '@pushcluster/gateway/moves/drainSchedule.ts';
import { HOLD_SECONDS, SURGE_PERCENT } from '@pushcluster/operator/pushcluster/desired/gateway.ts';
import type { GatewayPod } from '@pushcluster/operator/pushcluster/gatewayPod.ts';
import { type PodState, scalePlan } from '@pushcluster/operator/pushcluster/scalePolicy.ts';
import type { Chance } from './chance.ts';

/**
 * A rollout of any size, stepped: the operator's plan and the gateways' pace as they ship; the Deployment's controller,
 * the Service and the clients as chance and their rules have it.
 */

export type Course = {
  gateways: number;
  people: number;
  /** Connections a second of the cluster. */
  rate: number;
  /** Milliseconds: how long a gateway that was told to end goes on accepting, and has for the rest. */
  settle: number;
  timeout: number;
  /** The longest that a gateway takes to be ready, milliseconds. */
  startup: number;
  /** Gateways that find a node beside those wanted; those that are ending keep their place. */
  room: number;
  /** When no operator runs, milliseconds. */
  away: readonly { from: number; to: number }[];
  /** When others are wanted. */
  scales: readonly { at: number; to: number }[];
  /** When a gateway ends without a word: old or new. */
  deaths: readonly number[];
  /** New gateways that were ready are not for a while. */
  fails: readonly { from: number; to: number }[];
  /** Of all people, how many leave and come back each second. */
  churn: number;
};

export type Outcome = {
  /** Only new gateways are left. A scale-down begins then. */
  isDone: boolean;
  /** People by how often they were moved. */
  moved: readonly number[];
  /** The most that were moved within a second. */
  busiestSecond: number;
  /** Least gateways that were ready and not told to end, beyond those that the Deployment asked for. */
  leastReady: number;
  /** Least gateways that the Service chose from. */
  leastServing: number;
};

const STEP = 500;
/** How long the Service takes to follow a label, milliseconds: settle is longer, and is there for that. */
const LAG = 1_000;
const LONGEST = 3_600_000;
const BEGIN = Date.UTC(2026, 0, 1);

type Pod = GatewayPod & {
  /** Its kubelet begins, it is ready by itself, and who has ended it is gone. */
  runsAt: number | undefined;
  readyAt: number;
  /** Since when it is as the Service has to see it. */
  servingSince: number;
  leavingAt: number | undefined;
  pace: DrainSchedule | undefined;
  /** Everyone who is connected, by how often that one was moved. */
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
  /** Who has lost a connection and looks for another. */
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

  /** Pods that find a node begin and become ready; those that have nobody left, or no time, are gone. */
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
    const known = { isSettled: true, isSeen: true, isAskedAnew: true };
    const drain = { settle: this.#course.settle, timeout: this.#course.timeout };
    const wanted = { replicas: this.#wanted, drain, rebalance: undefined };
    const planned = scalePlan({ pods, replicas: this.#replicas, ...known }, wanted, BEGIN + this.#now);
    this.#scale(planned.replicas);
    this.#holdMs = planned.releasesOld ? 0 : HOLD_SECONDS * 1_000;
    // It may end at any moment: after some of what it does.
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

  /** A Deployment that grows while it rolls out grows in both of its parts. */
  #scale(replicas: number) {
    const staying = this.#staying;
    const old = staying.filter(({ isCurrent }) => !isCurrent).length;
    const more = Math.round((Math.max(0, replicas - this.#replicas) * old) / Math.max(1, staying.length));
    for (let i = 0; i < more; i++) this.#make(false);
    this.#replicas = replicas;
  }

  /** The Deployment's controller: surge, no fewer available than asked for, those that are not ready first. */
  #control() {
    const asked = this.#replicas;
    const most = asked + Math.ceil((asked * SURGE_PERCENT) / 100);
    const count = (isCurrent: boolean) => this.#staying.filter((pod) => pod.isCurrent === isCurrent).length;
    while (count(true) < asked && this.#staying.length < most) this.#make(true);
    const since = BEGIN + this.#now - this.#holdMs;
    const available = this.#staying.filter(({ readySince }) => readySince !== undefined && readySince <= since);
    const old = this.#staying.filter(({ isCurrent }) => !isCurrent);
    // Its own choice among those that are ready is by rules that have nothing to do with people: any.
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
    // Its ReplicaSet makes another of the same version.
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
      // Another one comes in place of who leaves.
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

  /** The Service: any that is ready and that it knows, by labels as they were a moment ago. */
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
