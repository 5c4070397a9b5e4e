import type { TestContext } from 'node:test';
import type { Connection } from '../connection.ts';
import type { Writer } from '../ledger.ts';
import { until } from '../until.ts';

const DEADLINE_MS = 240_000;
/** Milliseconds. An item that a gateway has received reaches the clients sooner, on a busy machine too. */
const COMES_MS = 5_000;

/**
 * Pushes during an outage of NATS until every gateway is connected to NATS again. At least one push must be refused
 * meanwhile.
 */
export async function busGoneAndBack(
  t: TestContext,
  writers: readonly Writer[],
  audience: readonly Connection[],
): Promise<void> {
  const began = performance.now();
  const push = async () => {
    const answers = await Promise.all(writers.map((writer) => writer.push(1)));
    return answers.every(({ status }) => status === 202);
  };
  let refused = 0;
  await until(
    'pushes are taken again',
    async () => {
      const isTaken = await push();
      if (!isTaken) refused++;
      return refused > 0 && isTaken;
    },
    DEADLINE_MS,
  );
  t.diagnostic(`pushes were taken again ${Math.round(performance.now() - began)} ms after NATS went`);
  const hasLast = (connection: Connection, { name, next }: Writer) =>
    [...connection.tallies.values()].some((tally) => tally.writer === name && tally.numbers.at(-1) === next - 1);
  const all = () => audience.every((each) => writers.every((writer) => !writer.reaches(each) || hasLast(each, writer)));
  const come = () =>
    until('items come', all, COMES_MS).then(
      () => true,
      () => false,
    );
  await until('all gateways are on the bus again', async () => (await push()) && (await come()), DEADLINE_MS);
}
