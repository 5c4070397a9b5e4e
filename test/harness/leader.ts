import { Client } from '@pushcluster/operator/kube/client.ts';
import { connect } from '@pushcluster/operator/kube/connection.ts';
import { Elector, NotLeading } from '@pushcluster/operator/kube/elector.ts';
import { LEASE_TIMES, type LeaseTimes } from '@pushcluster/operator/kube/lease.ts';

/**
 * A process that competes for the lease named by its first argument and, while it holds the lease, writes to a
 * ConfigMap as fast as possible. It sends `leading` to its parent, later `released` or `lost`, and then exits. SIGTERM
 * makes it release the lease.
 */
export type LeaderMessage = 'leading' | 'released' | 'lost';

const [name = '', identity = '', times] = process.argv.slice(2);
const client = new Client(connect());
const elector = new Elector({
  client,
  name,
  namespace: 'default',
  identity,
  times: times ? (JSON.parse(times) as LeaseTimes) : LEASE_TIMES,
});
let stopping = false;
process.once('SIGTERM', () => {
  stopping = true;
});
elector.start();
if (await elector.whenElected()) {
  tell('leading');
  const written = write();
  await Promise.race([written, elector.whenEnded()]);
  await written;
  if (stopping) await elector.stop();
}
tell(await elector.whenEnded());
process.disconnect();

async function write(): Promise<void> {
  const guarded = client.guarded(elector.assertLeading);
  for (let count = 0; !stopping; count++) {
    try {
      await guarded.apply(configMap(count));
    } catch (error) {
      if (error instanceof NotLeading) return;
    }
  }
}

function configMap(count: number) {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: `written-under-${name}`, namespace: 'default' },
    data: { by: identity, count: String(count) },
  };
}

function tell(message: LeaderMessage): void {
  process.send?.(message);
}
