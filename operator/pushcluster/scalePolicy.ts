import { surgeOf } from './desired/gateway.ts';
import type { GatewayPod } from './gatewayPod.ts';
import { rolloutPace } from './rolloutPace.ts';
import { rolloutRouting } from './rolloutRouting.ts';

/** The observed gateways of a cluster. */
export type ObservedGateways = {
  pods: readonly GatewayPod[];
  /** `spec.replicas` of the Deployment; undefined if it does not exist yet. */
  replicas: number | undefined;
  /** A ReplicaSet for the current template exists, so that `isCurrent` is meaningful. */
  isSettled: boolean;
  /**
   * The status of the ReplicaSet matches its pods: its controller, which picks pods from its own cache, is up to date.
   */
  isSeen: boolean;
  /** All pods were polled just now. */
  isAskedAnew: boolean;
  /** Number of gateways that are terminating. They are not among `pods`. */
  terminating: number;
};

/** The desired state of the gateways. */
export type Wanted = {
  replicas: number;
  /** Milliseconds. */
  drain: { settle: number; timeout: number };
  /**
   * Multiple of the average, and number of connections, above which a gateway moves connections away; undefined: never.
   */
  rebalance: { threshold: number; minimum: number } | undefined;
  /** Maximum number of gateways that are terminating in a rollout. */
  maxTerminating?: number | undefined;
};

export type PodState = Pick<GatewayPod, 'isServing' | 'drainSince' | 'deletionCost'>;

/** What a plan does, for Events. */
export type Step =
  /** `silent`: gateways that are considered full because they did not respond. */
  | { type: 'drain'; pods: readonly GatewayPod[]; silent: readonly GatewayPod[] }
  | { type: 'undo'; pods: readonly GatewayPod[] }
  | { type: 'remove'; pods: readonly GatewayPod[]; late: boolean }
  | { type: 'drop'; count: number }
  | { type: 'add'; from: number; to: number };

export type ScalePlan = {
  /** `spec.replicas` for the Deployment. */
  replicas: number;
  /** New states of pods, by uid. */
  changes: ReadonlyMap<string, PodState>;
  steps: readonly Step[];
  /** Why a scale-down or a rollout waits. */
  waits: string | undefined;
  /** Gateways have to be chosen by their connections: poll all pods, then plan again. */
  asks?: boolean;
  /** The rollout may terminate old gateways without delay: they receive no new connections. */
  releasesOld?: boolean;
  /** The rollout must not terminate old gateways before others that are terminating are gone. */
  holdsOld?: boolean;
  /** Milliseconds after which to plan again even without a change. */
  againIn?: number;
  phase: 'steady' | 'rollout' | 'draining' | 'rebalancing';
};

/**
 * Pod deletion costs. A ReplicaSet deletes pods with a lower cost first: empty ones, then draining ones, then others.
 */
const COST = { draining: -1_000, empty: -2_000 };
/** Time that a gateway gets in addition to its drain timeout, milliseconds. */
const MARGIN_MS = 10_000;
/** How long an overfull gateway stays out of the Service while the connections of another are unknown, milliseconds. */
export const HOLD_MS = 120_000;

/** Why a scale-down waits if `isSeen` is false. */
export const UNSEEN = 'the status of the ReplicaSet does not match its pods yet';

/**
 * The next steps towards the desired number of gateways. Surplus gateways with the fewest connections are drained,
 * empty ones are removed, and drains are undone if gateways are needed again. The whole state is in the pods and the
 * Deployment, so that another operator process can continue at any time.
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
  if (pods.some(({ isCurrent }) => !isCurrent)) return rollout(gateways, draining, asked, wanted, now);
  // The ReplicaSet has not deleted surplus pods yet.
  if (pods.length > asked)
    return { ...still(upTo, phase), changes: named(pods, pods.length - upTo), steps: added(asked, upTo) };
  const meant = asked - draining.length;
  if (wanted.replicas > meant) return takeBack(pods, draining, asked, wanted.replicas);
  if (wanted.replicas < meant) return scaleDown(gateways, draining, asked, wanted, now);
  if (draining.length > 0) return removal(gateways, draining, asked, wanted, now);
  return rebalance(pods, asked, wanted, now);
}

/**
 * Gives the lowest deletion cost to surplus pods. Which ones these are may change: a pod that was about to be removed
 * may have failed, and a new one may have replaced it.
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
 * During a rollout, the Service stops selecting old pods once the new ones have enough capacity, and only then are old
 * pods terminated: no client that connects or is moved has to move again.
 */
function rollout(
  { pods, terminating }: ObservedGateways,
  draining: readonly GatewayPod[],
  asked: number,
  { replicas, maxTerminating }: Wanted,
  now: number,
): ScalePlan {
  const back = undrained(draining, replicas - (asked - draining.length));
  const { newOnly, againIn } = rolloutRouting(pods, replicas, now, surgeOf(replicas, maxTerminating));
  const upTo = Math.max(asked, replicas);
  const state = (pod: GatewayPod): PodState => {
    const state = back.includes(pod) ? serving(pod) : pod;
    return { ...state, isServing: state.drainSince === undefined && (pod.isCurrent || !newOnly) };
  };
  const steps = [...(back.length > 0 ? [{ type: 'undo', pods: back } as const] : []), ...added(asked, upTo)];
  const isReleased = newOnly && pods.every(({ isCurrent, isReady, isServing }) => isCurrent || !isReady || !isServing);
  const pace = rolloutPace(pods, terminating, upTo, maxTerminating, now);
  const times = [againIn, isReleased && pace.settlesIn > 0 ? pace.settlesIn : undefined];
  const due = times.filter((each) => each !== undefined);
  return {
    replicas: upTo,
    changes: changes(pods, state),
    steps,
    waits: isReleased ? pace.holds : undefined,
    releasesOld: isReleased && pace.holds === undefined && pace.settlesIn === 0,
    holdsOld: pace.holds !== undefined,
    phase: 'rollout',
    ...(due.length === 0 ? {} : { againIn: Math.min(...due) }),
  };
}

/** Undoes drains, first of the gateways with the most connections: the others have almost finished. */
function takeBack(
  pods: readonly GatewayPod[],
  draining: readonly GatewayPod[],
  asked: number,
  wanted: number,
): ScalePlan {
  const back = undrained(draining, wanted - (asked - draining.length));
  const upTo = Math.max(asked, wanted);
  const steps = [...(back.length > 0 ? [{ type: 'undo', pods: back } as const] : []), ...added(asked, upTo)];
  // Overfull gateways stay out of the Service while others are added.
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
  // Draining gateways continue meanwhile.
  const waiting = (waits: string): ScalePlan => ({ ...removal(gateways, draining, asked, wanted, now), waits, phase });
  const missing = asked - pods.length;
  if (missing > 0) {
    // A new pod may become ready before the ReplicaSet learns of the scale-down, which would then delete any pod.
    if (!isSeen) return waiting(UNSEEN);
    const count = Math.min(excess, missing);
    return { ...still(asked - count, phase), steps: [{ type: 'drop', count }] };
  }
  // Pods without connections need not drain, and a ReplicaSet deletes them first anyway.
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
  // All other gateways serve before one drains.
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

/**
 * Removes drained pods in two steps: they get the lowest deletion cost, and are removed once the ReplicaSet knows it.
 */
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
  // Pods that the ReplicaSet would delete first regardless of their cost. A pending pod may wait for the node of a pod
  // that is to be removed, so it does not block a removal that is late.
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

/** Removes overfull gateways from the Service while they move connections away, at most half of all gateways. */
function rebalance(pods: readonly GatewayPod[], asked: number, { rebalance: bounds }: Wanted, now: number): ScalePlan {
  const over = new Set<GatewayPod>();
  let againIn: number | undefined;
  const count = ({ counted }: GatewayPod) => counted?.connections ?? 0;
  const unknown = pods.flatMap(({ unknownSince }) => unknownSince ?? []);
  if (bounds && unknown.length === 0) {
    const average = pods.reduce((sum, pod) => sum + count(pod), 0) / pods.length;
    // Hysteresis: a gateway returns to the Service only well below the threshold.
    const bound = ({ isServing }: GatewayPod) =>
      Math.max(bounds.minimum, average * (isServing ? bounds.threshold : (1 + bounds.threshold) / 2));
    // Counts are of different times. While many clients connect, a gateway may look overfull, but reports that it is
    // not.
    const mayBe = ({ isServing, isFuller = true }: GatewayPod) => !isServing || isFuller;
    for (const pod of byConnections(pods).reverse())
      if (over.size < Math.floor(pods.length / 2) && count(pod) > bound(pod) && mayBe(pod)) over.add(pod);
  } else if (bounds) {
    // Gateways stay out of the Service while enough others serve: one missing status says nothing about them.
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

/** The gateways whose drain is undone: those with the most connections first, those that are not running last. */
function undrained(draining: readonly GatewayPod[], count: number): readonly GatewayPod[] {
  const fullest = byConnections(draining).reverse();
  const running = fullest.filter(({ state }) => state === 'running');
  const others = fullest.filter(({ state }) => state !== 'running');
  return count <= 0 ? [] : [...running, ...others].slice(0, count);
}

/** A ReplicaSet deletes pods of a lower rank first. The deletion cost counts only among pods of the same rank. */
function rank({ state, isReady }: GatewayPod): number {
  return state === 'pending' ? 0 : isReady ? 2 : 1;
}

/** Fewest connections first. Gateways with an unknown number count as full. */
function byConnections(pods: readonly GatewayPod[]): GatewayPod[] {
  const count = ({ counted }: GatewayPod) => counted?.connections ?? Number.MAX_SAFE_INTEGER;
  return [...pods].sort((a, b) => count(a) - count(b) || (a.name < b.name ? -1 : 1));
}

/** The state of a serving gateway. A deletion cost that somebody else has set is kept. */
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
