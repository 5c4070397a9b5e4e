import { createInterface } from 'node:readline';
import { Host } from '@pushcluster/operator/nodetuning/host.ts';
import { NodeRecord } from '@pushcluster/operator/nodetuning/nodeRecord.ts';
import { parseNodeTuningSettings } from '@pushcluster/operator/nodetuning/nodeTuningSettings.ts';
import { plan } from '@pushcluster/operator/nodetuning/plan.ts';
import { apply, type Outcome, restore } from '@pushcluster/operator/nodetuning/tuner.ts';

/**
 * Tunes the network namespace of this process as the first argument says, and keeps its record in the folder of the
 * second argument. Prints the outcome as a line of JSON. A line on standard input makes it restore the earlier values
 * and print the outcome again.
 */
export type TunedLine = Outcome;

const [settings = '{}', folder = ''] = process.argv.slice(2);
const host = new Host();
const record = await NodeRecord.open(folder, { bootId: await host.bootId(), owner: 'a/test' });
tell(await apply(await plan(parseNodeTuningSettings(settings), host), host, record));
// The process runs until its standard input ends, so that a test can inspect the namespace meanwhile.
for await (const _ of createInterface({ input: process.stdin })) tell(await restore(host, record));

function tell(outcome: TunedLine): void {
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
}
