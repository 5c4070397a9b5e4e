import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import { startAdmin } from '@pushcluster/runtime/admin.ts';
import { createLog } from '@pushcluster/runtime/log.ts';
import { onShutdown } from '@pushcluster/runtime/shutdown.ts';
import { Registry } from 'prom-client';
import { Applier } from './kube/applier.ts';
import { Client } from './kube/client.ts';
import { connect } from './kube/connection.ts';
import { Controller } from './kube/controller.ts';
import { Elector, NotLeading } from './kube/elector.ts';
import { EventRecorder } from './kube/eventRecorder.ts';
import { Metrics } from './kube/metrics.ts';
import type { KubeObject } from './kube/objects.ts';
import type { Reflector } from './kube/reflector.ts';
import { WorkQueue } from './kube/workQueue.ts';
import { livenessProblems } from './liveness.ts';
import { GatewaySource } from './metricsApi/gatewaySource.ts';
import { MetricsApi } from './metricsApi/metricsApi.ts';
import { isOfDefaultLease, LEASE, operatorOptions } from './options.ts';
import { registerPollerMetrics } from './podStatus/metrics.ts';
import { PodStatusPoller, STALE_MS } from './podStatus/podStatusPoller.ts';
import { ReconcileTrigger } from './podStatus/reconcileTrigger.ts';
import { ClusterCache } from './pushcluster/clusterCache.ts';
import { registerClusterMetrics } from './pushcluster/clusterMetrics.ts';
import { clusterOf, isLeaving, readySince } from './pushcluster/observedGateways.ts';
import { Reconciler } from './pushcluster/reconciler.ts';
import { RolloutSlots } from './pushcluster/rolloutSlots.ts';
import { OPTIONAL_KINDS } from './pushcluster/watchedNamespace.ts';

/** Why the operator is not ready. */
const unlisted = ({ kind, namespace, trouble: error }: Reflector) => {
  const place = namespace === undefined ? '' : ` in namespace ${namespace}`;
  const reason = error?.reason === 'notFound' ? 'the API server does not have this kind' : error?.message;
  return `${kind.plural}${place} have not been listed yet${reason === undefined ? '' : `: ${reason}`}`;
};

/** Maximum time for a shutdown, milliseconds. Longer than a request to the API server may take. */
const LEAVE_MS = 20_000;

const options = operatorOptions(process.argv.slice(2), process.env);
try {
  const log = createLog('operator', options.logLevel);
  const client = new Client(connect());
  const identity = `${hostname()}_${randomBytes(6).toString('hex')}`;
  const elector = new Elector({
    client,
    name: options.leaseName,
    namespace: options.leaseNamespace ?? client.namespace,
    identity,
    ...(options.leaseName === LEASE ? {} : { former: { name: LEASE, isOther: isOfDefaultLease } }),
    isUsable: () => cache.isUsable,
    onUnusable: () => {
      log.error({ identity }, 'permissions or kinds are missing: giving the lease to a process that can work');
      process.kill(process.pid, 'SIGTERM');
    },
    onTrouble: (error) => log.warn({ err: error }, 'a request for the lease failed'),
  });
  const guarded = client.guarded(elector.assertLeading);
  /** Writes for reconciles. None starts once this process shuts down, so that the next leader can take over. */
  const making = client.guarded(() => {
    if (controller.isEnding) throw new NotLeading(`${identity} is shutting down`);
    return elector.assertLeading();
  });
  const applier = new Applier(making);
  const recorder = new EventRecorder(guarded, hostname(), {
    onTrouble: (error) => log.warn({ err: error }, 'an event could not be written'),
  });
  const queue = new WorkQueue();
  const cache: ClusterCache = new ClusterCache({
    client,
    namespaces: options.namespaces,
    served: await client.served(OPTIONAL_KINDS),
    onKey: (key) => queue.add(key),
    onGone: (ref) => applier.forget(ref),
    onTrouble: (error) => log.warn({ reason: error.message }, 'a list or watch failed and will be retried'),
  });
  const registry = new Registry();
  const gatewaySource = new GatewaySource((namespace) => cache.podsIn(namespace));
  const metricsApi = options.metricsApi
    ? new MetricsApi({
        ...options.metricsApi,
        ...{ client, registry, source: gatewaySource },
        onTrouble: (what, error) => log.warn({ err: error }, what),
      })
    : undefined;
  const metrics = new Metrics(registry, {
    isLeading: () => elector.isLeading,
    depth: () => queue.depth,
    failing: () => queue.failing,
    client,
    // Optional kinds may be installed or removed.
    get reflectors() {
      return [...cache.reflectors, ...(metricsApi?.reflectors ?? [])];
    },
  });
  registerClusterMetrics(
    registry,
    () => cache.clusters(),
    (key) => reconciler.natsCertificates.get(key),
  );
  const reconcileTrigger = new ReconcileTrigger();
  /** A pod that became ready recently and has not reported a status yet. */
  const isNew = (pod: KubeObject) =>
    poller.reading(pod.metadata.uid ?? '') === undefined && Date.now() - (readySince(pod) ?? 0) < STALE_MS;
  const poller: PodStatusPoller = new PodStatusPoller({
    pods: () => cache.everyPod(),
    port: options.podPort,
    isUrgent: (pod) => isLeaving(pod) || reconciler.awaits(pod) || isNew(pod),
    onReading: (pod, reading) => {
      gatewaySource.heard(pod, reading);
      const wait = reconcileTrigger.delayAfter(pod.metadata.uid ?? '', reading.status);
      const key = clusterOf(pod);
      if (key !== undefined && wait !== undefined) queue.addAfter(key, wait);
    },
    // The next request may succeed: the cluster is reconciled when the last status is outdated.
    onSilence: (pod) => {
      reconcileTrigger.forget(pod.metadata.uid ?? '');
      const key = clusterOf(pod);
      if (key !== undefined) queue.addAfter(key, STALE_MS);
    },
  });
  registerPollerMetrics(registry, poller);
  const slots = new RolloutSlots({
    limit: options.maxConcurrentRollouts,
    rollingOut: () => cache.rollingOut(),
    wake: (key) => queue.add(key),
  });
  const reconciler = new Reconciler({
    ...{
      cache,
      slots,
      client: making,
      applier,
      recorder,
      images: options.images,
      podDefaults: options.podDefaults,
      runbook: options.runbook,
      readings: poller,
    },
    onMissingFields: (fields) =>
      log.warn(
        { fields },
        'the status is written without fields that the installed CRD does not have: upgrade the CRD',
      ),
  });
  const controller = new Controller({
    reconcile: reconciler.reconcile,
    isKnown: (key) => cache.isSynced(key),
    queue,
    onReconciled: (_key, outcome, seconds) => metrics.reconciled(outcome, seconds),
    onError: (key, error, wait) => log.warn({ pushCluster: key, err: error, waitMs: wait }, 'reconcile failed'),
  });
  let isCampaigning = false;
  const admin = await startAdmin({
    ...options.admin,
    registry,
    health: () =>
      livenessProblems({ reflectors: cache.reflectors, elector: isCampaigning ? elector : undefined, poller }),
    ready: () => [
      ...(cache.isUsable ? [] : cache.reflectors.filter((each) => !each.isSynced).map(unlisted)),
      ...(metricsApi?.unready() ?? []),
    ],
  });
  onShutdown(
    log,
    async () => {
      poller.stop();
      await Promise.all([controller.stop(), metricsApi?.stop()]);
      await recorder.flush();
      await elector.stop();
      await cache.stop();
      await admin.close();
    },
    { deadline: () => LEAVE_MS },
  );
  void elector.whenEnded().then((how) => {
    if (how !== 'lost') return;
    log.error({ identity }, 'lost the lease: another process may lead');
    process.exit(1);
  });
  cache.start();
  poller.start();
  metricsApi?.start();
  log.info({ identity, namespaces: options.namespaces, admin: admin.port }, 'operator started');
  await cache.whenUsable();
  isCampaigning = true;
  elector.start();
  if (await elector.whenElected()) {
    log.info({ identity }, 'leading');
    controller.start();
    await metricsApi?.lead(guarded);
  }
} catch (error) {
  process.stderr.write(`operator: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
