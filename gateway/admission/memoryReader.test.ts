import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { MemoryReader } from './memoryReader.ts';

const MIB = 1_048_576;
const RESIDENT = 100 * MIB;
const MEMINFO = `MemTotal:       2097152 kB\nMemFree:          10000 kB\nMemAvailable:    921600 kB\n`;
const roots: string[] = [];
after(() => {
  for (const root of roots) rmSync(root, { recursive: true });
});

/** A file system with these files, and the host's memory. */
function rootWith(files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'pushcluster-memory-'));
  roots.push(root);
  for (const [path, text] of Object.entries({ 'proc/meminfo': MEMINFO, ...files })) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

function v2(folder: string, limit: string, current: number, inactive = 0): Record<string, string> {
  return {
    [`${folder}/memory.max`]: `${limit}\n`,
    [`${folder}/memory.current`]: `${current}\n`,
    [`${folder}/memory.stat`]: `anon 1\nfile 2\ninactive_anon 3\nactive_file 4\ninactive_file ${inactive}\n`,
  };
}

function v1(folder: string, limit: string, usage: number, inactive = 0): Record<string, string> {
  return {
    [`${folder}/memory.limit_in_bytes`]: `${limit}\n`,
    [`${folder}/memory.usage_in_bytes`]: `${usage}\n`,
    [`${folder}/memory.stat`]: `cache 1\ninactive_file 7\ntotal_inactive_file ${inactive}\n`,
  };
}

describe('the use of memory', () => {
  it('is the working set in a cgroup v2: what is cached of files and not in use does not count', () => {
    const root = rootWith({
      'proc/self/cgroup': '0::/\n',
      ...v2('sys/fs/cgroup', String(256 * MIB), 200 * MIB, 50 * MIB),
    });
    assert.deepEqual(new MemoryReader(root).read(RESIDENT), { used: 150 * MIB, limit: 256 * MIB, of: 'cgroup' });
  });

  it('is the working set in a cgroup v1, whose path may be the host’s', () => {
    const root = rootWith({
      'proc/self/cgroup': '5:cpu,cpuacct:/kubepods/pod1\n4:memory:/kubepods/pod1/abc\n',
      ...v1('sys/fs/cgroup/memory', String(256 * MIB), 200 * MIB, 50 * MIB),
    });
    assert.deepEqual(new MemoryReader(root).read(RESIDENT), { used: 150 * MIB, limit: 256 * MIB, of: 'cgroup' });
  });

  it('is that of the group above, where that one is nearer to its limit', () => {
    const root = rootWith({
      'proc/self/cgroup': '0::/pod/container\n',
      ...v2('sys/fs/cgroup/pod/container', 'max', 80 * MIB),
      ...v2('sys/fs/cgroup/pod', String(128 * MIB), 120 * MIB),
      ...v2('sys/fs/cgroup', String(1_024 * MIB), 500 * MIB),
    });
    assert.deepEqual(new MemoryReader(root).read(RESIDENT), { used: 120 * MIB, limit: 128 * MIB, of: 'cgroup' });
  });

  it('follows a limit that is changed, within ten looks', () => {
    const root = rootWith({ 'proc/self/cgroup': '0::/\n', ...v2('sys/fs/cgroup', 'max', 80 * MIB) });
    const reader = new MemoryReader(root);
    assert.equal(reader.read(RESIDENT)?.of, 'host');
    writeFileSync(join(root, 'sys/fs/cgroup/memory.max'), `${100 * MIB}\n`);
    for (let read = 2; read <= 10; read++) assert.equal(reader.read(RESIDENT)?.of, 'host');
    assert.deepEqual(reader.read(RESIDENT), { used: 80 * MIB, limit: 100 * MIB, of: 'cgroup' });
  });

  it('is what gateway and shards hold of that and what the host has available, where there is no limit', () => {
    const expected = { used: RESIDENT, limit: 1_000 * MIB, of: 'host' };
    const noLimit = v1('sys/fs/cgroup/memory', '9223372036854771712', 200 * MIB);
    assert.deepEqual(
      new MemoryReader(rootWith({ 'proc/self/cgroup': '4:memory:/\n0::/\n', ...noLimit })).read(RESIDENT),
      expected,
    );
    assert.deepEqual(new MemoryReader(rootWith({})).read(RESIDENT), expected);
  });

  it('is not known where the host says nothing', () => {
    assert.equal(new MemoryReader(rootWith({ 'proc/meminfo': '' })).read(RESIDENT), undefined);
  });

  it('is known on this machine', () => {
    const use = new MemoryReader().read(process.memoryUsage.rss());
    assert.ok(use && use.used > 0 && use.limit > use.used, JSON.stringify(use));
  });
});
