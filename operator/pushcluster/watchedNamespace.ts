import { KIND } from '../api/pushCluster.ts';
import type { Client } from '../kube/client.ts';
import { itself, ownersOfKind } from '../kube/controller.ts';
import { withDigest } from '../kube/digest.ts';
import { isKubeError, type KubeError } from '../kube/errors.ts';
import { withOwnersOf } from '../kube/fieldOwners.ts';
import { KINDS, type Kind, type KubeObject, keyOf, kindOf, type Ref } from '../kube/objects.ts';
import { type Change, Reflector } from '../kube/reflector.ts';
import { MADE_KINDS } from './desired/desired.ts';
import { SLICE_MANAGER, SLICE_MANAGER_LABEL } from './desired/leavingEndpoints.ts';
import { CLUSTER_LABEL } from './desired/names.ts';
import { isMounting, notReadyReasonOf } from './notReadyReason.ts';
import { clusterOf, looksOf } from './observedGateways.ts';
import { REPLICAS } from './wantedGateways.ts';

/** Kinds that may be installed or removed while the operator runs: those of the Prometheus Operator and of KEDA. */
export const OPTIONAL_KINDS: readonly Kind[] = [KINDS.serviceMonitors, KINDS.prometheusRules, KINDS.scaledObjects];

/** A permission that is missing for less than this, milliseconds, may be that of a role that is being replaced. */
const BARRED_MS = 60_000;

export type WatchedNamespaceOptions = {
  client: Client;
  /** Undefined: all namespaces. */
  namespace: string | undefined;
  /** The OPTIONAL_KINDS that the API server serves. */
  served: readonly Kind[];
  /** Called with the key of a PushCluster that has to be reconciled. */
  onKey: (key: string) => void;
  /** Called when an object of a PushCluster was deleted, or is no longer watched. */
  onGone: (ref: Ref) => void;
  /** Called when everything that a reconcile in this namespace depends on has been listed, each time it is watched. */
  onSynced: () => void;
  onTrouble?: ((error: KubeError) => void) | undefined;
};

/** What is watched only where there are PushClusters. */
type Watches = { pods: Reflector; replicaSets: Reflector; made: Map<string, Reflector> };

/**
 * A local copy of the PushClusters of one namespace, or of all, of the objects made for them, and of their pods. In one
 * namespace, only PushClusters are watched while there are none: each watch is a connection.
 */
export class WatchedNamespace {
  readonly namespace: string | undefined;
  readonly #options: WatchedNamespaceOptions;
  readonly #clusters: Reflector;
  #watches: Watches | undefined;
  /** Optional kinds that were installed meanwhile, and have not been listed. */
  readonly #coming = new Map<string, Reflector>();
  #served: readonly Kind[];
  #isStarted = false;

  constructor(options: WatchedNamespaceOptions) {
    this.#options = options;
    this.namespace = options.namespace;
    this.#served = options.served;
    this.#clusters = this.#reflector(KINDS.pushClusters, (change) => {
      this.#wakeOrSleep();
      itself(change).forEach(options.onKey);
    });
    void this.#clusters.whenSynced().then(options.onSynced);
    if (this.namespace === undefined) this.#wake();
  }

  start(): void {
    this.#isStarted = true;
    for (const each of this.reflectors) each.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.reflectors.map((each) => each.stop()));
  }

  get reflectors(): Reflector[] {
    return [...this.#required, ...this.#optional, ...this.#coming.values()];
  }

  /** Whether everything that a reconcile in this namespace depends on has been listed. */
  get isSynced(): boolean {
    return [...this.#required, ...this.#optional].every((each) => each.isSynced);
  }

  /** Whether the operator lacks a permission or a kind without which it can reconcile nothing here. */
  get isBarred(): boolean {
    return this.#required.some(
      ({ trouble, failingFor }) => isKubeError(trouble, 'forbidden', 'notFound') && failingFor > BARRED_MS,
    );
  }

  /** PushClusters. */
  get clusters(): Reflector {
    return this.#clusters;
  }

  get pods(): Reflector | undefined {
    return this.#watches?.pods;
  }

  get replicaSets(): Reflector | undefined {
    return this.#watches?.replicaSets;
  }

  /** By kind. */
  made(kind: string): Reflector | undefined {
    return this.#watches?.made.get(kind);
  }

  allMade(): Reflector[] {
    return [...(this.#watches?.made.values() ?? [])];
  }

  /** Says which optional kinds the API server serves now. A kind is used once its existing objects are known. */
  serve(served: readonly Kind[]): void {
    const kinds = (wanted: readonly Kind[], rest: readonly Kind[]) => wanted.filter((each) => !rest.includes(each));
    const come = kinds(served, this.#served);
    const gone = kinds(this.#served, served);
    this.#served = served;
    if (!this.#watches) return;
    for (const kind of come) this.#admit(kind, this.#watches);
    for (const { kind } of gone) {
      const reflector = this.#watches.made.get(kind) ?? this.#coming.get(kind);
      this.#watches.made.delete(kind);
      this.#coming.delete(kind);
      void reflector?.stop();
    }
    if (gone.length > 0) this.#reconcileAll();
  }

  get #required(): Reflector[] {
    const { pods, replicaSets, made } = this.#watches ?? { made: new Map() };
    const all = [this.#clusters, pods, replicaSets, ...made.values()].filter((each) => each !== undefined);
    return all.filter(({ kind }) => !OPTIONAL_KINDS.includes(kind));
  }

  get #optional(): Reflector[] {
    return this.allMade().filter(({ kind }) => OPTIONAL_KINDS.includes(kind));
  }

  #wakeOrSleep(): void {
    if (this.namespace === undefined) return;
    if (this.#clusters.size > 0) this.#wake();
    else this.#sleep();
  }

  #wake(): void {
    if (this.#watches) return;
    const labelSelector = CLUSTER_LABEL;
    const roles = `${labelSelector},app.kubernetes.io/component in (gateway,logic)`;
    const rolesAndNats = `${labelSelector},app.kubernetes.io/component in (gateway,logic,nats)`;
    const kinds = MADE_KINDS.map(kindOf).filter(
      (each) => !OPTIONAL_KINDS.includes(each) || this.#served.includes(each),
    );
    const watches: Watches = {
      pods: this.#reflector(KINDS.pods, this.#hindered, rolesAndNats),
      replicaSets: this.#reflector(KINDS.replicaSets, this.#looked, roles),
      made: new Map(kinds.map((kind) => [kind.kind, this.#reflectorOfMade(kind)])),
    };
    this.#watches = watches;
    const { reflectors } = this;
    void Promise.all(reflectors.map((each) => each.whenSynced())).then(() => {
      if (this.#watches !== watches) return;
      this.#reconcileAll();
      this.#options.onSynced();
    });
    if (this.#isStarted) for (const each of reflectors) each.start();
  }

  #sleep(): void {
    if (!this.#watches) return;
    const unused = this.reflectors.filter((each) => each !== this.#clusters);
    for (const { kind } of this.allMade())
      for (const object of this.made(kind.kind)?.objects() ?? []) this.#options.onGone(object);
    this.#watches = undefined;
    this.#coming.clear();
    for (const each of unused) void each.stop();
  }

  #admit(kind: Kind, { made }: Watches): void {
    const reflector = this.#reflectorOfMade(kind);
    this.#coming.set(kind.kind, reflector);
    if (this.#isStarted) reflector.start();
    void reflector.whenSynced().then(() => {
      if (this.#coming.get(kind.kind) !== reflector) return;
      this.#coming.delete(kind.kind);
      made.set(kind.kind, reflector);
      this.#reconcileAll();
    });
  }

  #reconcileAll(): void {
    for (const cluster of this.#clusters.objects()) this.#options.onKey(keyOf(cluster));
  }

  #reflectorOfMade(kind: Kind): Reflector {
    const owners = ownersOfKind(KIND);
    const made = (change: Change) => {
      if (change.type === 'deleted') this.#options.onGone(change.object);
      for (const key of owners(change)) this.#options.onKey(key);
      // KEDA owns the HorizontalPodAutoscalers that it makes, and labels them like its ScaledObjects.
      if (kind === KINDS.horizontalPodAutoscalers) this.#labelled(change.object);
    };
    // The endpoint slice controller copies the labels of a Service to its own slices.
    const ours = `${CLUSTER_LABEL},${SLICE_MANAGER_LABEL}=${SLICE_MANAGER}`;
    return this.#reflector(kind, made, kind === KINDS.endpointSlices ? ours : CLUSTER_LABEL);
  }

  #reflector(kind: Kind, onChange: (change: Change) => void, labelSelector?: string): Reflector {
    const { client, onTrouble } = this.#options;
    return new Reflector({
      client,
      kind,
      // managedFields tell who owns the number of logic pods, and who set that of gateways.
      managedFields: kind === KINDS.deployments || kind === KINDS.pushClusters,
      kept: kind === KINDS.pushClusters ? (object) => withOwnersOf(object, REPLICAS) : withDigest,
      onChange,
      ...(this.namespace === undefined ? {} : { namespace: this.namespace }),
      ...(labelSelector === undefined ? {} : { labelSelector }),
      ...(onTrouble ? { onTrouble } : {}),
    });
  }

  // A new or deleted ReplicaSet is relevant as such.
  readonly #looked = (change: Change) => {
    if (change.type !== 'changed' || looksOf(change.object) !== looksOf(change.before)) this.#labelled(change.object);
  };

  readonly #hindered = (change: Change) => {
    const isOther =
      change.type === 'changed' &&
      (notReadyReasonOf(change.object)?.why !== notReadyReasonOf(change.before)?.why ||
        (isMounting(change.object) && !isMounting(change.before)));
    if (isOther) this.#labelled(change.object);
    else this.#looked(change);
  };

  #labelled(object: KubeObject): void {
    const key = clusterOf(object);
    if (key !== undefined) this.#options.onKey(key);
  }
}
