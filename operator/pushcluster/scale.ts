/** A gateway pod that was not told to end. */
export type GatewayPod = {
  uid: string;
  name: string;
  /** Of the template that the Deployment has now. */
  isCurrent: boolean;
  isReady: boolean;
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
  /** Whether it says that it has far more than the others; undefined where it doesn't say. */
  isFuller: boolean | undefined;
  /** It was asked for its connections, whether it answered or not. */
  isAsked: boolean;
};

/** The gateways of a cluster as they are. */
export type Fleet = {
  pods: readonly GatewayPod[];
  /** Pods that the Deployment asks for; undefined where there is no Deployment yet. */
  replicas: number | undefined;
  /** There is a ReplicaSet for the Deployment's template: `isCurrent` counts. */
  isSettled: boolean;
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
  | { type: 'drain'; pods: readonly GatewayPod[] }
  | { type: 'undo'; pods: readonly GatewayPod[] }
  | { type: 'remove'; pods: readonly GatewayPod[]; late: boolean }
  | { type: 'drop'; count: number }
  | { type: 'add'; from: number; to: number };

export type Plan = {
  /** For the Deployment. */
  replicas: number;
  /** Pods that are to be other than they are, by uid. */
  changes: ReadonlyMap<string, PodState>;
  steps: readonly Step[];
  /** Why a scale-down doesn't go on. */
  waits: string | undefined;
  phase: 'steady' | 'rollout' | 'draining' | 'rebalancing';
};

/** Of pods with the lowest cost a ReplicaSet removes the first: those that drain before others, empty ones before all. */
const COST = { draining: -1_000, empty: -2_000 };
/** A gateway that was given its time to drain may be this late, milliseconds. */
const MARGIN_MS = 10_000;

/**
 * What to do next about the number of gateways: the emptiest that are too many drain, those that are empty go, and
 * drains are taken back when gateways are wanted again. All that it goes by is in the pods and the Deployment, so that
 * any operator can go on where another has stopped.
 * @param now milliseconds since 1970
 */
export function plan(fleet: Fleet, wanted: Wanted, now: number): Plan {
  const { pods, isSettled } = fleet;
  const asked = fleet.replicas;
  if (asked === undefined) return still(wanted.replicas, 'steady');
  const draining = pods.filter(({ drainSince }) => drainSince !== undefined);
  const phase = draining.length > 0 ? 'draining' : 'steady';
  const upTo = Math.max(asked, wanted.replicas);
  if (!isSettled) return { ...still(upTo, phase), steps: added(asked, upTo) };
  if (pods.some(({ isCurrent }) => !isCurrent)) return rollout(pods, draining, asked, wanted);
  // The ReplicaSet has yet to remove those that it was told to.
  if (pods.length > asked) return { ...still(upTo, phase), steps: added(asked, upTo) };
  const meant = asked - draining.length;
  if (wanted.replicas > meant) return takeBack(pods, draining, asked, wanted.replicas);
  if (wanted.replicas < meant) return scaleDown(pods, draining, asked, wanted, now);
  if (draining.length > 0) return removal(pods, draining, asked, wanted, now);
  return rebalance(pods, asked, wanted);
}

/** Old pods stop being chosen once new ones can take what comes: whoever connects now is not to be moved soon. */
function rollout(
  pods: readonly GatewayPod[],
  draining: readonly GatewayPod[],
  asked: number,
  { replicas }: Wanted,
): Plan {
  const back = undrained(draining, replicas - (asked - draining.length));
  const readyCurrent = pods.filter(({ isCurrent, isReady, isServing }) => isCurrent && isReady && isServing).length;
  const isHalf = readyCurrent >= Math.ceil(replicas / 2);
  const upTo = Math.max(asked, replicas);
  const state = (pod: GatewayPod): PodState => {
    const state = back.includes(pod) ? serving(pod) : pod;
    return { ...state, isServing: state.drainSince === undefined && (pod.isCurrent || !isHalf) };
  };
  const steps = [...(back.length > 0 ? [{ type: 'undo', pods: back } as const] : []), ...added(asked, upTo)];
  return { replicas: upTo, changes: changes(pods, state), steps, waits: undefined, phase: 'rollout' };
}

/** Those that have most connections left come back first: the emptiest have nearly done what they were told. */
function takeBack(pods: readonly GatewayPod[], draining: readonly GatewayPod[], asked: number, wanted: number): Plan {
  const back = undrained(draining, wanted - (asked - draining.length));
  const upTo = Math.max(asked, wanted);
  const steps = [...(back.length > 0 ? [{ type: 'undo', pods: back } as const] : []), ...added(asked, upTo)];
  const state = (pod: GatewayPod) => (back.includes(pod) || pod.drainSince === undefined ? serving(pod) : pod);
  const phase = draining.length > back.length ? 'draining' : 'steady';
  return { replicas: upTo, changes: changes(pods, state), steps, waits: undefined, phase };
}

function scaleDown(
  pods: readonly GatewayPod[],
  draining: readonly GatewayPod[],
  asked: number,
  wanted: Wanted,
  now: number,
): Plan {
  const excess = asked - draining.length - wanted.replicas;
  const others = pods.filter(({ drainSince }) => drainSince === undefined);
  // Unready pods, and before them pending ones, are what a ReplicaSet removes first: where they hold nobody, they go.
  const stuck = others.filter(({ state, isReady }) => state === 'running' && !isReady);
  const stopped = stuck.length > 0 ? 0 : others.filter(({ state }) => state === 'stopped').length;
  const idle = asked - pods.length + others.filter(({ state }) => state === 'pending').length + stopped;
  const phase = draining.length > 0 ? 'draining' : 'steady';
  if (idle > 0) {
    const count = Math.min(excess, idle);
    return { ...still(asked - count, phase), steps: [{ type: 'drop', count }] };
  }
  const unready = others.filter(({ isReady }) => !isReady);
  if (unready.length > 0) {
    const waits = `${listed(unready)} ${unready.length === 1 ? 'is' : 'are'} not ready, and would be removed first`;
    return { ...still(asked, phase), waits };
  }
  if (others.some(({ isAsked }) => !isAsked))
    return { ...still(asked, phase), waits: 'it is not known yet which gateways are the emptiest' };
  const chosen = byConnections(others).slice(0, excess);
  const state = (pod: GatewayPod): PodState => {
    if (chosen.includes(pod)) return { isServing: false, drainSince: now, deletionCost: COST.draining };
    return pod.drainSince === undefined ? serving(pod) : pod;
  };
  return {
    replicas: asked,
    changes: changes(pods, state),
    steps: [{ type: 'drain', pods: chosen }],
    waits: undefined,
    phase: 'draining',
  };
}

/** Empty pods get the lowest cost first, and go when that is seen to be so: a ReplicaSet chooses by its own copy. */
function removal(
  pods: readonly GatewayPod[],
  draining: readonly GatewayPod[],
  asked: number,
  { drain }: Wanted,
  now: number,
): Plan {
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
  // Who finds no node may be waiting for the place of one that is to go: for so long the others are waited for.
  const isPatient = !marked.every(isLate);
  const unready = pods.filter((pod) => !pod.isReady && !marked.includes(pod) && (isPatient || pod.state !== 'pending'));
  if (unready.length > 0 || pods.length < asked) {
    const who = unready.length > 0 ? listed(unready) : 'a gateway';
    const waits = `${who} ${unready.length > 1 ? 'are' : 'is'} not ready, and would be removed first`;
    return { ...none, waits };
  }
  const late = marked.some((pod) => !isEmpty(pod));
  return { ...none, replicas: asked - marked.length, steps: [{ type: 'remove', pods: marked, late }] };
}

/** The fullest gateways are not chosen while they give away what they have too much, at most half of all. */
function rebalance(pods: readonly GatewayPod[], asked: number, { rebalance: bounds }: Wanted): Plan {
  const over = new Set<GatewayPod>();
  const count = ({ counted }: GatewayPod) => counted?.connections ?? 0;
  if (bounds && pods.length === asked && pods.every(({ isReady, counted }) => isReady && counted)) {
    const average = pods.reduce((sum, pod) => sum + count(pod), 0) / pods.length;
    // Who is out comes back only well below: not in and out with each reading.
    const bound = ({ isServing }: GatewayPod) =>
      Math.max(bounds.minimum, average * (isServing ? bounds.threshold : (1 + bounds.threshold) / 2));
    // Counts are of different moments: while many people come, one looks far fuller that is not, and says so.
    const mayBe = ({ isServing, isFuller = true }: GatewayPod) => !isServing || isFuller;
    for (const pod of byConnections(pods).reverse())
      if (over.size < Math.floor(pods.length / 2) && count(pod) > bound(pod) && mayBe(pod)) over.add(pod);
  }
  const state = (pod: GatewayPod) => ({ ...serving(pod), isServing: !over.has(pod) });
  const phase = over.size > 0 ? 'rebalancing' : 'steady';
  return { replicas: asked, changes: changes(pods, state), steps: [], waits: undefined, phase };
}

function undrained(draining: readonly GatewayPod[], count: number): readonly GatewayPod[] {
  return count <= 0 ? [] : byConnections(draining).reverse().slice(0, count);
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

function still(replicas: number, phase: Plan['phase']): Plan {
  return { replicas, changes: new Map(), steps: [], waits: undefined, phase };
}

function added(from: number, to: number): Step[] {
  return to > from ? [{ type: 'add', from, to }] : [];
}

function listed(pods: readonly GatewayPod[]): string {
  const names = pods.slice(0, 2).map(({ name }) => name);
  return pods.length > 2 ? `${names.join(', ')} and ${pods.length - 2} more` : names.join(' and ');
}
