import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { FakeNode } from './fakeNode.ts';
import { parseNodeTuningSettings } from './nodeTuningSettings.ts';
import { plan } from './plan.ts';

describe('a plan for a node', () => {
  let node: FakeNode;
  beforeEach(() => {
    node = new FakeNode({ cpus: 4 });
  });
  afterEach(() => node.remove());

  /** What is wanted where the node has `own`, by name; and what is not applicable. */
  const planFor = async (settings: object, own = '0') => {
    const { planned, skipped } = await plan(parseNodeTuningSettings(JSON.stringify(settings)), node.host);
    return {
      wanted: Object.fromEntries(planned.map(({ name, wanted }) => [name, wanted(own)])),
      skipped: Object.fromEntries(skipped.map(({ name, reason }) => [name, reason])),
    };
  };

  it('raises limits, and never lowers them', async () => {
    const settings = { sysctls: { 'fs.nr_open': 2_097_152, 'fs.file-max': 4_000_000 } };
    assert.equal((await planFor(settings, '1048576')).wanted['fs.nr_open'], '2097152');
    assert.equal((await planFor(settings, '1073741816')).wanted['fs.nr_open'], '1073741816');
    assert.equal((await planFor(settings, '9223372036854775807')).wanted['fs.file-max'], '9223372036854775807');
  });

  it('counts shares of the memory in pages', async () => {
    const { wanted } = await planFor({ sysctls: { 'net.ipv4.tcp_mem': '5% 10% 15%' } });
    assert.equal(wanted['net.ipv4.tcp_mem'], '209715 419430 629145');
  });

  it('makes the table of connections larger before it lets more of them in', async () => {
    const { wanted } = await planFor({
      sysctls: { 'net.netfilter.nf_conntrack_max': 1_000_000, 'net.netfilter.nf_conntrack_buckets': 250_000 },
    });
    assert.deepEqual(Object.keys(wanted), ['net.netfilter.nf_conntrack_buckets', 'net.netfilter.nf_conntrack_max']);
  });

  it('spreads what few queues receive over all CPUs, and gives each CPU a queue to send by', async () => {
    node.device('eth0', { rx: 2, tx: 2, rings: '4096 512 4096 256' });
    const { wanted, skipped } = await planFor({ interfaces: [{ name: 'eth*', rps: 'auto', xps: 'auto' }] });
    assert.deepEqual(wanted, {
      'eth0 rx-0 rps_cpus': 'f',
      'eth0 rx-1 rps_cpus': 'f',
      'eth0 tx-0 xps_cpus': '5',
      'eth0 tx-1 xps_cpus': 'a',
    });
    assert.deepEqual(skipped, {});
  });

  it('leaves queues alone that are as many as the CPUs, and what a driver has set', async () => {
    node.device('eth0', { rx: 4, tx: 4, card: true });
    const { wanted, skipped } = await planFor({ interfaces: [{ name: 'eth0', rps: 'auto', xps: 'auto' }] }, 'f');
    assert.match(skipped['eth0 rps'] ?? '', /already has a queue for each CPU \(4 queues, 4 CPUs\)/);
    assert.equal(wanted['eth0 tx-0 xps_cpus'], 'f');
  });

  it("knows the CPUs whose memory the card is at, and those that don't run", async () => {
    node.device('eth0', { rx: 1, card: true });
    node.write('sys/devices/pci0000:00/net/eth0/device/local_cpulist', '2-5\n');
    assert.equal((await planFor({ interfaces: [{ name: 'eth0', rps: 'auto' }] })).wanted['eth0 rx-0 rps_cpus'], 'c');
    const given = await planFor({ interfaces: [{ name: 'eth0', rps: '1,3,9' }] });
    assert.equal(given.wanted['eth0 rx-0 rps_cpus'], 'a');
    const none = await planFor({ interfaces: [{ name: 'eth0', rps: '8-9' }] });
    assert.match(none.skipped['eth0 rps'] ?? '', /none of the CPUs 8-9 is online/);
  });

  it('takes as large a ring as the card has', async () => {
    node.device('eth0', { rings: '4096 512 2048 256' });
    const { wanted } = await planFor({ interfaces: [{ name: 'eth0', rings: { rx: 'max', tx: 4096 } }] });
    assert.deepEqual(wanted, { 'eth0 rx ring': '4096', 'eth0 tx ring': '2048' });
  });

  it('says of a veth and of a bridge what is not applicable', async () => {
    node.device('veth1');
    node.device('br0');
    const { wanted, skipped } = await planFor({
      interfaces: [{ name: '*', rps: 'auto', xps: 'auto', rings: { rx: 'max', tx: 'max' } }],
    });
    assert.deepEqual(wanted, {});
    for (const device of ['veth1', 'br0']) {
      assert.match(skipped[`${device} rps`] ?? '', /is virtual/);
      assert.match(skipped[`${device} xps`] ?? '', /only one transmit queue/);
      assert.match(skipped[`${device} rx ring`] ?? '', /no ring buffers/);
    }
  });

  it('goes by the first entry that names an interface, and tells of those that the node has not', async () => {
    node.device('eth0', { rx: 2, card: true });
    const { wanted, skipped } = await planFor({
      interfaces: [
        { name: 'eth0', rps: '0' },
        { name: 'eth*', rps: '1' },
        { name: 'ens*', xps: 'auto' },
      ],
    });
    assert.deepEqual(Object.values(wanted), ['1', '1']);
    assert.deepEqual(Object.keys(skipped), ['eth*', 'ens*']);
  });

  it('touches no interface where /sys shows those of another network', async () => {
    node.device('eth0', { rx: 1, card: true });
    node.write('net/dev', ' face |bytes\n  eth0: 0\n  eth1: 0\n');
    const { wanted, skipped } = await planFor({ interfaces: [{ name: 'eth0', rps: '0' }] });
    assert.deepEqual(wanted, {});
    assert.match(skipped.eth0 ?? '', /another network/);
  });
});
