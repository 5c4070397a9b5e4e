import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import type { TunedLine } from '../harness/tunedNode.ts';

const PROGRAM = new URL('../harness/tunedNode.ts', import.meta.url).pathname;
const isRoot = process.getuid?.() === 0;
/** Whoever is not root is so in a namespace of their own. */
const UNSHARE = ['--net', '--mount', ...(isRoot ? [] : ['--user', '--map-root-user'])];
const possible = spawnSync('unshare', [...UNSHARE, 'true']).status === 0;

/** A network of its own: a veth pair with two queues each, and a bridge. */
const NETWORK = `
mount -t sysfs sysfs /sys
ip link add name va0 numtxqueues 2 numrxqueues 2 type veth peer name vb0
ip link add name br0 type bridge
ip link set va0 up
ip link set vb0 up
exec "$@"
`;
const SHOW = `
cd /proc/sys/net/ipv4
cat tcp_wmem tcp_rmem ip_local_port_range
cd /sys/class/net/va0/queues
cat rx-0/rps_cpus rx-1/rps_cpus tx-0/xps_cpus tx-1/xps_cpus
`;
const SETTINGS = {
  sysctls: {
    'net.ipv4.tcp_wmem': '4096 32768 2097152',
    'net.ipv4.tcp_rmem': '4096 65536 3145728',
    'net.ipv4.ip_local_port_range': '20000 50000',
    'net.ipv4.tcp_mem': '6% 9% 12%',
    'net.core.netdev_max_backlog': 16_384,
    'net.netfilter.nf_conntrack_max': 2_000_000_000,
  },
  interfaces: [
    { name: 'va0', rps: '0', xps: 'auto', rings: { rx: 'max' } },
    { name: '*', rps: 'auto', xps: 'auto', rings: { rx: 'max', tx: 1_024 } },
  ],
};

describe("a real kernel's settings, in a network namespace", {
  skip: possible ? false : 'this user may make no network namespace (unshare --user --net): run it as root',
}, () => {
  let tuned: ChildProcess;
  let folder: string;
  let lines: AsyncIterator<string>;
  let own: string[];
  let outcome: TunedLine;

  const next = async (): Promise<TunedLine> => {
    const { value, done } = await lines.next();
    if (done) throw new Error('it has ended without a word');
    return JSON.parse(value);
  };
  /** Seen by a program of the namespace's own, not by ours. */
  const show = (): string[] => {
    const target = [
      `--target=${tuned.pid}`,
      '--net',
      '--mount',
      ...(isRoot ? [] : ['--user', '--preserve-credentials']),
    ];
    const { stdout, stderr } = spawnSync('nsenter', [...target, 'sh', '-c', SHOW], { encoding: 'utf8' });
    assert.equal(stderr, '');
    return stdout
      .trim()
      .replace(/[\t ]+/g, ' ')
      .split('\n');
  };

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pushcluster-tuned-'));
    // What the kernel gives a new namespace.
    const fresh = spawnSync('unshare', [...UNSHARE, 'sh', '-euc', NETWORK, 'sh', 'sh', '-c', SHOW], {
      encoding: 'utf8',
    });
    assert.equal(fresh.stderr, '');
    own = fresh.stdout
      .trim()
      .replace(/[\t ]+/g, ' ')
      .split('\n');
    const command = ['sh', '-euc', NETWORK, 'sh', process.execPath, PROGRAM, JSON.stringify(SETTINGS), folder];
    tuned = spawn('unshare', [...UNSHARE, ...command], { stdio: ['pipe', 'pipe', 'inherit'] });
    lines = createInterface({ input: tuned.stdout! })[Symbol.asyncIterator]();
    outcome = await next();
  });
  after(() => {
    tuned?.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  const reasons = (list: TunedLine['skipped']) => new Map(list.map(({ name, reason }) => [name, reason]));

  it('are set where they can be', () => {
    assert.deepEqual(outcome.failed, []);
    assert.deepEqual(show().slice(0, 3), ['4096 32768 2097152', '4096 65536 3145728', '20000 50000']);
    assert.notDeepEqual(own.slice(0, 3), show().slice(0, 3));
  });

  it('are told as not applicable where only the first namespace has them, or they can only be read', () => {
    const skipped = reasons(outcome.skipped);
    assert.match(skipped.get('net.ipv4.tcp_mem') ?? '', /does not have this setting/);
    assert.match(skipped.get('net.core.netdev_max_backlog') ?? '', /does not have this setting/);
    // Where the machine has no table of connections there is nothing to read.
    assert.match(skipped.get('net.netfilter.nf_conntrack_max') ?? '', /does not have this setting|read-only here/);
  });

  it("of a veth's queues are set by root of the machine, and told as not applicable to others", () => {
    const skipped = reasons(outcome.skipped);
    if (isRoot) assert.equal(show()[3], '1');
    else assert.match(skipped.get('va0 rx-0 rps_cpus') ?? '', /read-only here/);
    assert.equal(show()[5]?.replace(/^[0,]+(?=.)/, '') !== '0', isRoot);
  });

  it('of a veth and of a bridge that have no card are told as not applicable', () => {
    const skipped = reasons(outcome.skipped);
    for (const device of ['br0', 'vb0']) assert.match(skipped.get(`${device} rps`) ?? '', /is virtual/);
    assert.match(skipped.get('br0 xps') ?? '', /only one transmit queue/);
    for (const ring of ['va0 rx ring', 'vb0 rx ring', 'br0 tx ring'])
      assert.match(skipped.get(ring) ?? '', /no ring buffers|ethtool is not installed/);
  });

  it('are as they were before at the end', async () => {
    tuned.stdin!.write('\n');
    const { restored, failed, left } = await next();
    assert.equal(restored.length, outcome.changed.length);
    assert.deepEqual([...failed, ...left], []);
    assert.deepEqual(show(), own);
  });
});
