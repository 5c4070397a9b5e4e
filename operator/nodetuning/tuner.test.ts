import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { FakeNode } from './fakeNode.ts';
import { Host } from './host.ts';
import { NodeRecord } from './nodeRecord.ts';
import { parseNodeTuningSettings } from './nodeTuningSettings.ts';
import { plan } from './plan.ts';
import { apply, restore } from './tuner.ts';

const WMEM = 'net.ipv4.tcp_wmem';
const BACKLOG = 'net.core.netdev_max_backlog';

describe('a tuned node', () => {
  let node: FakeNode;
  beforeEach(() => {
    node = new FakeNode();
    node.sysctls({ [WMEM]: '4096\t16384\t4194304', [BACKLOG]: '1000', 'fs.nr_open': '1048576' });
  });
  afterEach(() => node.remove());

  const record = (bootId = 'boot-1') => NodeRecord.open(node.record, { bootId, owner: 'system/one' });
  /** What a new pod does at its start. */
  const tune = async (sysctls: object, interfaces: object[] = [], host = node.host) => {
    const settings = parseNodeTuningSettings(JSON.stringify({ sysctls, interfaces }));
    return apply(await plan(settings, host), host, await record());
  };
  const WANTED = { [WMEM]: '4096 16384 1048576', [BACKLOG]: 16_384 };

  it('is set as asked for, and later as it was before', async () => {
    const outcome = await tune(WANTED);
    assert.deepEqual(outcome.changed, [
      { name: BACKLOG, from: '1000', to: '16384' },
      { name: WMEM, from: '4096 16384 4194304', to: '4096 16384 1048576' },
    ]);
    assert.equal(node.sysctl(WMEM), '4096 16384 1048576');
    assert.equal(node.sysctl('fs.nr_open'), '1048576');
    const { restored } = await restore(node.host, await record());
    assert.deepEqual(
      restored.map(({ name, to }) => [name, to]),
      [
        [WMEM, '4096 16384 4194304'],
        [BACKLOG, '1000'],
      ],
    );
    assert.equal(node.sysctl(BACKLOG), '1000');
    assert.deepEqual((await record()).entries, []);
  });

  it('is not touched by a pod that finds it as it should be, and goes back to what it had at first', async () => {
    await tune(WANTED);
    assert.deepEqual((await tune(WANTED)).changed, []);
    await tune({ ...WANTED, [BACKLOG]: 4_096 });
    assert.equal(node.sysctl(BACKLOG), '4096');
    await restore(node.host, await record());
    assert.equal(node.sysctl(BACKLOG), '1000');
  });

  it('gets back what is no longer asked for', async () => {
    await tune(WANTED);
    const { restored } = await tune({ [BACKLOG]: 16_384 });
    assert.deepEqual(
      restored.map(({ name }) => name),
      [WMEM],
    );
    assert.equal(node.sysctl(BACKLOG), '16384');
    // A limit that the node has by itself is as good as not asked for.
    await tune({ [BACKLOG]: 500 });
    assert.equal(node.sysctl(BACKLOG), '1000');
  });

  it('is as it was before, also where a pod died between noting a value and setting it', async () => {
    await (await record()).put({ name: BACKLOG, from: '1000', asked: '16384', to: '16384' });
    await restore(node.host, await record());
    assert.equal(node.sysctl(BACKLOG), '1000');
    await (await record()).put({ name: BACKLOG, from: '1000', asked: '16384', to: '16384' });
    await tune(WANTED);
    assert.equal(node.sysctl(BACKLOG), '16384');
    await restore(node.host, await record());
    assert.equal(node.sysctl(BACKLOG), '1000');
  });

  it('keeps what somebody else has set meanwhile', async () => {
    await tune(WANTED);
    node.sysctls({ [BACKLOG]: '3000' });
    const { restored, left } = await restore(node.host, await record());
    assert.deepEqual(
      restored.map(({ name }) => name),
      [WMEM],
    );
    assert.match(left[0]?.reason ?? '', /changed to 3000 by somebody else/);
    assert.equal(node.sysctl(BACKLOG), '3000');
  });

  it('has forgotten all after its machine has started anew', async () => {
    await tune(WANTED);
    node.sysctls({ [BACKLOG]: '2000' });
    node.write('proc/sys/kernel/random/boot_id', 'boot-2\n');
    assert.deepEqual((await record('boot-2')).entries, []);
  });

  it('is not tuned on where its record is unreadable: what it had would be lost', async () => {
    node.write('record/record.json', '{"version":2}');
    await assert.rejects(record(), /contains the original settings of this node/);
  });

  it('gets all that it takes, where the kernel refuses one thing', async () => {
    // As root nothing of a file system refuses: this kernel does.
    class Refusing extends Host {
      override write(name: string, value: string): Promise<void> {
        return name === BACKLOG ? Promise.reject(new Error('the kernel refuses it')) : super.write(name, value);
      }
    }
    const outcome = await tune(WANTED, [], new Refusing({ root: node.root }));
    assert.deepEqual(outcome.failed, [{ name: BACKLOG, reason: 'the kernel refuses it' }]);
    assert.deepEqual(
      outcome.changed.map(({ name }) => name),
      [WMEM],
    );
    assert.deepEqual(
      (await record()).entries.map(({ name }) => name),
      [WMEM],
    );
  });

  it('goes back to its own value after a later one was refused', async () => {
    await tune(WANTED);
    class Refusing extends Host {
      override write(): Promise<void> {
        return Promise.reject(new Error('the kernel refuses it'));
      }
    }
    await tune({ [WMEM]: '1 2 3', [BACKLOG]: 16_384 }, [], new Refusing({ root: node.root }));
    await restore(node.host, await record());
    assert.equal(node.sysctl(WMEM), '4096 16384 4194304');
  });

  it('says what it does not have', async () => {
    const { skipped, failed } = await tune({ 'net.netfilter.nf_conntrack_max': 1_000_000 });
    assert.match(skipped[0]?.reason ?? '', /does not have this setting/);
    assert.deepEqual(failed, []);
  });

  it('has its queues and rings set and put back', async () => {
    node.device('eth0', { rx: 2, tx: 2, rings: '4096 512 4096 256' });
    const settings = [{ name: 'eth0', rps: 'auto', xps: 'auto', rings: { rx: 'max', tx: 1_024 } }];
    await tune({}, settings);
    assert.equal(node.read('rings-eth0'), '4096 4096 4096 1024');
    assert.equal(node.read('sys/class/net/eth0/queues/rx-1/rps_cpus'), 'f');
    assert.equal(node.read('sys/class/net/eth0/queues/tx-1/xps_cpus'), 'a');
    await restore(node.host, await record());
    assert.equal(node.read('rings-eth0'), '4096 512 4096 256');
    assert.equal(node.read('sys/class/net/eth0/queues/rx-1/rps_cpus'), '0');
  });

  it('writes nothing outside of what can be set, whatever its record says', async () => {
    for (const name of ['../x', 'kernel/core_pattern', 'eth0 ../x', '.. rx-0 rps_cpus', 'eth0 rx-0 ../../x'])
      await assert.rejects(node.host.write(name, '1'), /is not the name of a setting/);
  });
});
