import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import type { Fault, FaultName } from '../chaos/nemesis.ts';

const CHAOS = new URL('../chaos/chaos.ts', import.meta.url).pathname;
const SABOTAGE = new URL('../chaos/sabotage.ts', import.meta.url).href;
/** Milliseconds for which those wait who will never get the last item. */
const SETTLE_MS = 10_000;

const folder = mkdtempSync(join(tmpdir(), 'pushcluster-controls-'));
after(() => rmSync(folder, { recursive: true }));

const fault = (name: FaultName, at: number, lasts: number, target = 0): Fault => ({ name, at, lasts, target });

/** What the fault test says of a product that is broken on purpose, and its exit status. */
function chaos(sabotage: string, faults: readonly Fault[]): Promise<{ status: number; output: string }> {
  const file = join(folder, `${sabotage.replaceAll(' ', '-')}.json`);
  writeFileSync(file, JSON.stringify({ seed: 1, faults }));
  const args = [CHAOS, '--schedule', file, '--shrink', '0', '--settle', String(SETTLE_MS)];
  const env = { ...process.env, SABOTAGE: sabotage, NODE_OPTIONS: `--import ${SABOTAGE}` };
  return new Promise((resolve) => {
    const child = execFile(process.execPath, args, { cwd: folder, env }, (_error, stdout, stderr) =>
      resolve({ status: child.exitCode ?? -1, output: stdout + stderr }),
    );
  });
}

// Each is a whole run: they come one after another.
describe('the fault test, with a product that is broken on purpose', () => {
  const finds = async (sabotage: string, faults: readonly Fault[], what: RegExp) => {
    const { status, output } = await chaos(sabotage, faults);
    assert.equal(status, 1, output);
    assert.match(output, what);
  };

  it('finds what is lost where nothing is repaired', () =>
    finds(
      'no repair',
      [fault('cut the network between a gateway and NATS', 3_000, 8_000)],
      /A5: lost between two items/,
    ));

  it('finds what is stored twice without deduplication', () =>
    finds(
      'no deduplication',
      // The target 1 is cut towards logic: what it sends is stored, and not answered.
      [fault('cut the network between logic and NATS one way', 3_000, 5_000, 1)],
      /A10: the history has an item twice/,
    ));

  it('finds an epoch that does not change', () =>
    finds('an epoch that does not change', [fault('delete the stream', 5_000, 0)], /A2: two pushes have one position/));

  it('finds a position that moves late', () =>
    finds(
      'a position that moves late',
      [0, 1, 2].map((target) =>
        fault('reset the connections of clients of a gateway', 3_000 + 500 * target, 0, target),
      ),
      /A4: an item came twice/,
    ));

  it('finds losses that are not told', () =>
    finds(
      'losses that are not told',
      [fault('cut the network between a gateway and NATS', 3_000, 8_000)],
      /losses were not told/,
    ));
});
