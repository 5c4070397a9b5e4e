import { createInterface } from 'node:readline';
import { Host } from '@pushcluster/operator/nodetuning/host.ts';
import { NodeRecord } from '@pushcluster/operator/nodetuning/nodeRecord.ts';
import { parseSettings } from '@pushcluster/operator/nodetuning/nodeTuningSettings.ts';
import { plan } from '@pushcluster/operator/nodetuning/plan.ts';
import { apply, type Outcome, restore } from '@pushcluster/operator/nodetuning/tuner.ts';

/**
 * Tunes the network namespace that it runs in as its first argument says, with its record in the folder of its second. It says
 * what it did as a line of JSON, and again after a line on its standard input, when it has put all back.
 */
export type TunedLine = Outcome;

const [settings = '{}', folder = ''] = process.argv.slice(2);
const host = new Host();
const record = await NodeRecord.open(folder, { bootId: await host.bootId(), owner: 'a/test' });
tell(await apply(await plan(parseSettings(settings), host), host, record));
// It stays until its standard input ends: others look at the namespace meanwhile.
for await (const _ of createInterface({ input: process.stdin })) tell(await restore(host, record));

function tell(outcome: TunedLine): void {
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
}
