import { rm, writeFile } from 'node:fs/promises';
import { createLog } from '@pushcluster/runtime/log.ts';
import { onShutdown } from '@pushcluster/runtime/shutdown.ts';
import { Client } from '../kube/client.ts';
import { connect } from '../kube/connection.ts';
import { EventRecorder } from '../kube/eventRecorder.ts';
import { Host } from './host.ts';
import { NodeRecord } from './nodeRecord.ts';
import { eventsOf, NodeReport, NotOurs } from './nodeReport.ts';
import { type NodeTuningOptions, nodeTuningOptions, usage } from './options.ts';
import { plan } from './plan.ts';
import { remove, requestRestoreDecision } from './removal.ts';
import { apply, type Outcome, restore } from './tuner.ts';

/**
 * Maximum time for a shutdown, milliseconds. Less than the grace period of the pod; requests may take some seconds of
 * it.
 */
const LEAVE_MS = 45_000;

try {
  const options = nodeTuningOptions(process.argv.slice(2), process.env);
  if (options === undefined) process.stdout.write(usage());
  else if (options.command === 'remove') await removeAll(options);
  else await tune(options);
} catch (error) {
  process.stderr.write(`node-tuning: ${error instanceof Error ? error.message : String(error)}; see --help\n`);
  process.exit(2);
}

async function tune(options: Extract<NodeTuningOptions, { command: 'tune' }>): Promise<void> {
  const { node, daemonSet, settings, readyFile } = options;
  const log = createLog('node-tuning', options.logLevel);
  const client = new Client(connect(), { fieldManager: 'pushcluster-node-tuning' });
  const { namespace } = client;
  const recorder = new EventRecorder(client, node, {
    controller: 'pushcluster.dev/node-tuning',
    onTrouble: (error) => log.warn({ err: error }, 'an event could not be written'),
  });
  const owner = `${namespace}/${daemonSet}`;
  const report = new NodeReport(client, recorder, { node, owner });
  const host = new Host({ root: options.root, ethtool: options.ethtool, net: options.net });
  const now = { bootId: await host.bootId(), owner };
  const opened = () => NodeRecord.open(options.record, now);
  let claimed = false;
  let leaving = false;
  let retry: NodeJS.Timeout | undefined;

  const tell = async (outcome: Outcome): Promise<void> => {
    for (const event of eventsOf(outcome)) {
      log[event.type === 'Normal' ? 'info' : 'warn'](event.note);
      await report.event(event);
    }
  };
  const attempt = async (): Promise<void> => {
    try {
      await report.claim();
      claimed = true;
      // Opened after the claim: before, another DaemonSet may still write to it.
      const record = await opened();
      const outcome = await apply(await plan(settings, host), host, record);
      await report.say(record.entries, outcome);
      await tell(outcome);
      if (outcome.failed.length === 0) {
        await writeFile(readyFile, '');
        log.info({ set: record.entries.length, notApplicable: outcome.skipped.length }, 'node tuned');
        return;
      }
    } catch (error) {
      log.warn({ err: error }, 'the node could not be tuned');
      if (error instanceof NotOurs) {
        const event = { type: 'Warning', reason: 'NodeTuningRefused', action: 'Tune', note: error.message } as const;
        await report.event(event).catch((cause: unknown) => log.warn({ err: cause }, 'an event could not be written'));
      }
    }
    if (!leaving) retry = setTimeout(begin, options.retry);
  };

  let working: Promise<void> = Promise.resolve();
  const begin = (): void => {
    working = attempt();
  };
  await rm(readyFile, { force: true });
  begin();
  onShutdown(
    log,
    async () => {
      leaving = true;
      clearTimeout(retry);
      await working;
      const record = await opened();
      if (!claimed && !record.isOurs) return;
      const decision = await requestRestoreDecision(client, { namespace, daemonSet, node });
      log.info({ restore: decision.restore }, decision.why);
      if (!decision.restore) return;
      const outcome = await restore(host, record);
      for (const { note } of eventsOf(outcome)) log.info(note);
      try {
        await report.release();
        await tell(outcome);
      } catch (error) {
        log.warn(
          { err: error },
          `the annotations of the node could not be removed: run kubectl annotate node ${node} node-tuning.pushcluster.dev/owner-`,
        );
      }
      if (outcome.failed.length > 0) throw new Error('not all settings could be restored');
    },
    { deadline: () => LEAVE_MS },
  );
  // Keeps the process running until SIGTERM.
  setInterval(() => {}, 2 ** 30);
}

async function removeAll({ daemonSet }: NodeTuningOptions): Promise<void> {
  const client = new Client(connect(), { fieldManager: 'pushcluster-node-tuning' });
  const gone = await remove(client, { namespace: client.namespace, daemonSet });
  // Succeeds in any case: the removal of the release must not wait for a node that is down.
  process.stdout.write(
    gone
      ? `DaemonSet ${daemonSet} was deleted, and its pods have restored the settings of their nodes\n`
      : `DaemonSet ${daemonSet} was deleted, but some of its pods are still running. They restore the settings of their nodes when they terminate\n`,
  );
}
