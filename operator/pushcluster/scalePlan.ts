import { rolloutRouting } from './rolloutRouting.ts';

/** A gateway pod that was not told to end. */
export type GatewayPod = {
  uid: string;
  name: string;
  /** Of the template that the Deployment has now. */
  isCurrent: boolean;
  isReady: boolean;
  /** Milliseconds since 1970, to the second; undefined where it isn't. */
  readySince: number | undefined;
  /** Pending: no container of it has begun yet. Stopped: none runs. Neither holds a connection. */
  state: 'pending' | 'running' | 'stopped';
  /** The Service may choose it. */
  isServing: boolean;
  /** Since when it drains, milliseconds since 1970. */
  drainSince: number | undefined;
  /** `controller.kubernetes.io/pod-deletion-cost`, where it has one. */
  deletionCost: number | undefined;
  /** Connections and when they were counted, milliseconds since 1970; undefined where it doesn't say. */
  counted: { connections: number; at: number } | undefined;
  /** Since when it isn't known how many connections it has as one that is ready, milliseconds since 1970. */
  unknownSince: number | undefined;
  /** Whether it says that it has far more than the others; undefined where it doesn't say. */
  isFuller: boolean | undefined;
  /** It was asked for its connections, whether it answered or not. */
  isAsked: boolean;
  /** It gave no answer when it was last asked. */
  isSilent: boolean;
};

/** The gateways of a cluster as they are. */
export type ObservedGateways = {
  pods: readonly GatewayPod[];
  /** Pods that the Deployment asks for; undefined where there is no Deployment yet. */
  replicas: number | undefined;
  /** There is a ReplicaSet for the Deployment's template: `isCurrent` counts. */
  isSettled: boolean;
  /** The ReplicaSet's controller, which chooses by its own copy of the pods, says what its pods are, and that is as they are. */
  isSeen: boolean;
  /** All pods were asked for their connections just now, as far as they answer. */
  isAskedAnew: boolean;
};

/** What is wanted of them. */
export type Wanted = {
  replicas: number;
  /** Milliseconds. */
  drain: { settle: number; timeout: number };
  /** From how many times the average, and from how many connections on, a gateway gives away what it has too much; undefined: never. */
  rebalance: { threshold: number; minimum: number } | undefined;
};

export type PodState = Pick<GatewayPod, 'isServing' | 'drainSince' | 'deletionCost'>;

/** What is done now, for events. */
export type Step =
  /** `silent`: those that count as full, since they didn't answer. */
  | { type: 'drain'; pods: readonly GatewayPod[]; silent: readonly GatewayPod[] }
  | { type: 'undo'; pods: readonly GatewayPod[] }
  | { type: 'remove'; pods: readonly GatewayPod[]; late: boolean }
  | { type: 'drop'; count: number }
  | { type: 'add'; from: number; to: number };

export type ScalePlan = {
  /** For the Deployment. */
  replicas: number;
  /** Pods that are to be other than they are, by uid. */
  changes: ReadonlyMap<string, PodState>;
  steps: readonly Step[];
  /** Why a scale-down doesn't go on. */
  waits: string | undefined;
  /** Something is to be chosen by connections: ask all pods, and plan again. */
  asks?: boolean;
  /** Old gateways of a rollout may be told to end at once for each new one that is ready: nobody new comes to them. */
  releasesOld?: boolean;
  /** Milliseconds after which it is to be planned again, whatever happens. */
  againIn?: number;
  phase: 'steady' | 'rollout' | 'draining' | 'rebalancing';
};

/** Of pods with the lowest cost a ReplicaSet removes the first: those that drain before others, empty ones before all. */
const COST = { draining: -1_000, empty: -2_000 };
/** A gateway that was given its time to drain may be this late, milliseconds. */
const MARGIN_MS = 10_000;
/** So long who is over-full stays out of the Service while it isn't known how full another is, milliseconds. */
export const HOLD_MS = 120_000;

/** What a scale-down waits for while `isSeen` is not so. */
export const UNSEEN = 'the status of the ReplicaSet does not match its pods yet';

/**
 * What to do next about the number of gateways: the emptiest that are too many drain, those that are empty go, and
 * drains are taken back when gateways are wanted again. All that it goes by is in the pods and the Deployment, so that
 * any operator can go on where another has stopped.
 * @param now milliseconds since 1970
 */
export function scalePlan(gateways: ObservedGateways, wanted: Wanted, now: number): ScalePlan {
  const { pods, isSettled } = gateways;
  const asked = gateways.replicas;
  if (asked === undefined) return still(wanted.replicas, 'steady');
  const draining = pods.filter(({ drainSince }) => drainSince !== undefined);
  const phase = draining.length > 0 ? 'draining' : 'steady';
  const upTo = Math.max(asked, wanted.replicas);
  if (!isSettled) return { ...still(upTo, phase), steps: added(asked, upTo) };
  if (pods.some(({ isCurrent }) => !isCurrent)) return rollout(pods, draining, asked, wanted, now);
  // The ReplicaSet has yet to remove those that it was told to.
  if (pods.length > asked)
    return { ...still(upTo, phase), changes: named(pods, pods.length - upTo), steps: added(asked, upTo) };
  const meant = asked - draining.length;
  if (wanted.replicas > meant) return takeBack(pods, draining, asked, wanted.replicas);
  if (wanted.replicas < meant) return scaleDown(gateways, draining, asked, wanted, now);
  if (draining.length > 0) return removal(gateways, draining, asked, wanted, now);
  return rebalance(pods, asked, wanted, now);
}

/**
 * Those that are too many have the lowest cost, whichever they are by now: one that was to go may have been lost, and a
 * new one stand in its place.
 */
function named(pods: readonly GatewayPod[], surplus: number): Map<string, PodState> {
  const before = (pod: GatewayPod): number => {
    if (pod.deletionCost === COST.empty) return 0;
    if (pod.state !== 'running') return 1;
    if (pod.drainSince !== undefined) return 2;
    return pod.isReady ? 4 : 3;
  };
  const chosen = byConnections(pods)
    .sort((a, b) => before(a) - before(b))
    .slice(0, Math.max(0, surplus));
  return changes(pods, (pod) => (chosen.includes(pod) ? { ...pod, deletionCost: COST.empty } : pod));
}

/**
 * Old pods stop being chosen once new ones can take what comes, and are told to end only then: whoever is moved, and
 * whoever connects, is not to be moved again.
 */
function rollout(
  pods: readonly GatewayPod[],
  draining: readonly GatewayPod[],
  asked: number,
  { replicas }: Wanted,
  now: number,
): ScalePlan {
  const back = undrained(draining, replicas - (asked - draining.length));
  const { newOnly, againIn } = rolloutRouting(pods, replicas, now);
  const upTo = Math.max(asked, replicas);
  const state = (pod: GatewayPod): PodState => {
    const state = back.includes(pod) ? serving(pod) : pod;
    return { ...state, isServing: state.drainSince === undefined && (pod.isCurrent || !newOnly) };
  };
  const steps = [...(back.length > 0 ? [{ type: 'undo', pods: back } as const] : []), ...added(asked, upTo)];
  const releasesOld = newOnly && pods.every(({ isCurrent, isReady, isServing }) => isCurrent || !isReady || !isServing);
  const planned = { replicas: upTo, changes: changes(pods, state), steps, waits: undefined, releasesOld } as const;
  return { ...planned, phase: 'rollout', ...(againIn === undefined ? {} : { againIn }) };
}

/** Those that have most connections left come back first: the emptiest have nearly done what they were told. */
function takeBack(
  pods: readonly GatewayPod[],
  draining: readonly GatewayPod[],
  asked: number,
  wanted: number,
): ScalePlan {
  const back = undrained(draining, wanted - (asked - draining.length));
  const upTo = Math.max(asked, wanted);
  const steps = [...(back.length > 0 ? [{ type: 'undo', pods: back } as const] : []), ...added(asked, upTo)];
  // Who is over-full stays out while others are added.
  const isToServe = (pod: GatewayPod) => back.includes(pod) || (draining.length > 0 && pod.drainSince === undefined);
  const state = (pod: GatewayPod) => (isToServe(pod) ? serving(pod) : pod);
  const phase = draining.length > back.length ? 'draining' : 'steady';
  return { replicas: upTo, changes: changes(pods, state), steps, waits: undefined, phase };
}

function scaleDown(
  gateways: ObservedGateways,
  draining: readonly GatewayPod[],
  asked: number,
  wanted: Wanted,
  now: number,
): ScalePlan {
  const { pods, isSeen, isAskedAnew } = gateways;
  const excess = asked - draining.length - wanted.replicas;
  const others = pods.filter(({ drainSince }) => drainSince === undefined);
  const phase = draining.length > 0 ? 'draining' : 'steady';
  // Those that drain go on meanwhile.
  const waiting = (waits: string): ScalePlan => ({ ...removal(gateways, draining, asked, wanted, now), waits, phase });
  const missing = asked - pods.length;
  if (missing > 0) {
    // A new one may be ready before the ReplicaSet hears that it is one too many: it must not be left to choose then.
    if (!isSeen) return waiting(UNSEEN);
    const count = Math.min(excess, missing);
    return { ...still(asked - count, phase), steps: [{ type: 'drop', count }] };
  }
  // Who holds nobody needn't be waited for, and a ReplicaSet would remove them first.
  const idle = others.filter(({ state }) => state !== 'running').sort((a, b) => rank(a) - rank(b));
  if (idle.length > 0) {
    const chosen = idle.slice(0, excess);
    const state = (pod: GatewayPod): PodState =>
      chosen.includes(pod) ? { isServing: false, drainSince: now, deletionCost: COST.empty } : pod;
    return { ...still(asked, 'draining'), changes: changes(pods, state) };
  }
  const unready = others.filter(({ isReady }) => !isReady);
  if (unready.length > 0)
    return waiting(`${listed(unready)} ${unready.length === 1 ? 'is' : 'are'} not ready and would be deleted first`);
  // All others serve before one leaves.
  if (others.some(({ isServing }) => !isServing)) {
    const state = (pod: GatewayPod) => (pod.drainSince === undefined ? serving(pod) : pod);
    return { ...still(asked, phase), changes: changes(pods, state) };
  }
  if (!isSeen) return waiting(UNSEEN);
  if (!isAskedAnew) return { ...still(asked, phase), asks: true };
  if (others.some(({ isAsked }) => !isAsked)) return waiting('not all gateways have reported their connections yet');
  const silent = others.filter(({ isSilent }) => isSilent);
  const answering = others.filter(({ isSilent }) => !isSilent);
  const chosen = [...byConnections(answering), ...byConnections(silent)].slice(0, excess);
  const state = (pod: GatewayPod): PodState => {
    if (chosen.includes(pod)) return { isServing: false, drainSince: now, deletionCost: COST.draining };
    return pod.drainSince === undefined ? serving(pod) : pod;
  };
  return {
    replicas: asked,
    changes: changes(pods, state),
    steps: [{ type: 'drain', pods: chosen, silent }],
    waits: undefined,
    phase: 'draining',
  };
}

/** Empty pods get the lowest cost first, and go when that is seen to be so: a ReplicaSet chooses by its own copy. */
function removal(
  { pods, isSeen }: ObservedGateways,
  draining: readonly GatewayPod[],
  asked: number,
  { drain }: Wanted,
  now: number,
): ScalePlan {
  const isLate = ({ drainSince = now }: GatewayPod) => now - drainSince >= drain.settle + drain.timeout + MARGIN_MS;
  const isEmpty = ({ state, counted, drainSince = now }: GatewayPod) =>
    state !== 'running' || (counted?.connections === 0 && counted.at - drainSince >= drain.settle);
  const done = draining.filter((pod) => isEmpty(pod) || isLate(pod));
  const state = (pod: GatewayPod): PodState => {
    if (done.includes(pod)) return { ...pod, isServing: false, deletionCost: COST.empty };
    return { ...pod, isServing: pod.drainSince === undefined };
  };
  const found = changes(pods, state);
  const marked = done.filter((pod) => !found.has(pod.uid));
  const none = { replicas: asked, changes: found, steps: [], waits: undefined, phase: 'draining' } as const;
  if (marked.length === 0) return none;
  if (!isSeen) return { ...none, waits: UNSEEN };
  // What a ReplicaSet would remove before it, whatever that costs. Who finds no node may be waiting for the place of one
  // that is to go: for so long as that is not late.
  const blockers = (pod: GatewayPod) =>
    pods.filter(
      (each) => !marked.includes(each) && rank(each) < rank(pod) && !(isLate(pod) && each.state === 'pending'),
    );
  const isFree = (pod: GatewayPod) => blockers(pod).length === 0 && (pods.length === asked || pod.state === 'pending');
  const going = marked.filter(isFree);
  if (going.length === 0) {
    const unready = marked.flatMap(blockers).filter((pod, index, all) => all.indexOf(pod) === index);
    const who = unready.length > 0 ? listed(unready) : 'a gateway';
    const waits = `${who} ${unready.length > 1 ? 'are' : 'is'} not ready and would be deleted first`;
    return { ...none, waits };
  }
  const late = going.some((pod) => !isEmpty(pod));
  return { ...none, replicas: asked - going.length, steps: [{ type: 'remove', pods: going, late }] };
}

/** The fullest gateways are not chosen while they give away what they have too much, at most half of all. */
function rebalance(pods: readonly GatewayPod[], asked: number, { rebalance: bounds }: Wanted, now: number): ScalePlan {
  const over = new Set<GatewayPod>();
  let againIn: number | undefined;
  const count = ({ counted }: GatewayPod) => counted?.connections ?? 0;
  const unknown = pods.flatMap(({ unknownSince }) => unknownSince ?? []);
  if (bounds && unknown.length === 0) {
    const average = pods.reduce((sum, pod) => sum + count(pod), 0) / pods.length;
    // Who is out comes back only well below: not in and out with each reading.
    const bound = ({ isServing }: GatewayPod) =>
      Math.max(bounds.minimum, average * (isServing ? bounds.threshold : (1 + bounds.threshold) / 2));
    // Counts are of different moments: while many people come, one looks far fuller that is not, and says so.
    const mayBe = ({ isServing, isFuller = true }: GatewayPod) => !isServing || isFuller;
    for (const pod of byConnections(pods).reverse())
      if (over.size < Math.floor(pods.length / 2) && count(pod) > bound(pod) && mayBe(pod)) over.add(pod);
  } else if (bounds) {
    // Who is out stays out as long as enough others serve: one answer that is missing says nothing about it.
    const out = pods.filter(({ isServing }) => !isServing);
    const left = Math.min(...unknown) + HOLD_MS - now;
    const isEnough = pods.filter(({ isServing, isReady }) => isServing && isReady).length >= out.length;
    if (out.length > 0 && left > 0 && isEnough) {
      for (const pod of out) over.add(pod);
      againIn = left;
    }
  }
  const state = (pod: GatewayPod) => ({ ...serving(pod), isServing: !over.has(pod) });
  const phase = over.size > 0 ? 'rebalancing' : 'steady';
  const found = { replicas: asked, changes: changes(pods, state), steps: [], waits: undefined, phase } as const;
  return againIn === undefined ? found : { ...found, againIn };
}

/** Those that hold people come back before those that never began, the fullest first. */
function undrained(draining: readonly GatewayPod[], count: number): readonly GatewayPod[] {
  const fullest = byConnections(draining).reverse();
  const running = fullest.filter(({ state }) => state === 'running');
  const others = fullest.filter(({ state }) => state !== 'running');
  return count <= 0 ? [] : [...running, ...others].slice(0, count);
}

/** Of two pods a ReplicaSet removes the one of the lower rank, and by their cost only where that is the same. */
function rank({ state, isReady }: GatewayPod): number {
  return state === 'pending' ? 0 : isReady ? 2 : 1;
}

/** Emptiest first; those that don't say how many they have count as full. */
function byConnections(pods: readonly GatewayPod[]): GatewayPod[] {
  const count = ({ counted }: GatewayPod) => counted?.connections ?? Number.MAX_SAFE_INTEGER;
  return [...pods].sort((a, b) => count(a) - count(b) || (a.name < b.name ? -1 : 1));
}

/** As a gateway that serves is. A cost that somebody else has set is left. */
function serving(pod: GatewayPod): PodState {
  const { deletionCost } = pod;
  const isOurs = deletionCost === COST.draining || deletionCost === COST.empty;
  return { isServing: true, drainSince: undefined, deletionCost: isOurs ? undefined : deletionCost };
}

function changes(pods: readonly GatewayPod[], state: (pod: GatewayPod) => PodState): Map<string, PodState> {
  const found = new Map<string, PodState>();
  for (const pod of pods) {
    const { isServing, drainSince, deletionCost } = state(pod);
    if (isServing === pod.isServing && drainSince === pod.drainSince && deletionCost === pod.deletionCost) continue;
    found.set(pod.uid, { isServing, drainSince, deletionCost });
  }
  return found;
}

function still(replicas: number, phase: ScalePlan['phase']): ScalePlan {
  return { replicas, changes: new Map(), steps: [], waits: undefined, phase };
}

function added(from: number, to: number): Step[] {
  return to > from ? [{ type: 'add', from, to }] : [];
}

function listed(pods: readonly GatewayPod[]): string {
  const names = pods.slice(0, 2).map(({ name }) => name);
  return pods.length > 2 ? `${names.join(', ')} and ${pods.length - 2} more` : names.join(' and ');
}
