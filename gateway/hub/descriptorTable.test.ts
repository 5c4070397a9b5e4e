import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { descriptorLimit } from '@pushcluster/runtime/descriptors.ts';
import { tableDescriptor, withTable } from './descriptorTable.ts';

describe('the table of descriptors of a shard', () => {
  it('has room for all that the limit allows, up to 65,536, and is the kernel’s where that is little', () => {
    const limits = [64, 128, 129, 256, 1_024, 20_000, 65_536, 65_600, 1_048_576];
    assert.deepEqual(limits.map(tableDescriptor), [
      undefined,
      undefined,
      undefined,
      191,
      959,
      19_935,
      65_471,
      65_534,
      65_534,
    ]);
  });

  it('is that large when the process starts', () => {
    const table = tableDescriptor(descriptorLimit());
    assert.ok(table !== undefined);
    const script = 'process.stderr.write(require("node:fs").readFileSync("/proc/self/status", "utf8"))';
    const { stderr } = spawnSync(process.execPath, ['-e', script], {
      stdio: withTable(['ignore', 'ignore', 'pipe'], table),
    });
    const size = /^FDSize:\s+(\d+)$/m.exec(stderr.toString())?.[1];
    assert.ok(Number(size) > table, `room for ${size}`);
  });
});
