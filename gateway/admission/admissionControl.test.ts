import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { pino } from 'pino';
import { newCounts, type ShardCounts } from '../ipc/counts.ts';
import type { HubMessage } from '../ipc/messages.ts';
import { settingsWith } from '../simulation/hub.ts';
import { AdmissionControl } from './admissionControl.ts';

type TestShard = { index: number; counts: ShardCounts | undefined; messages: HubMessage[]; send(m: HubMessage): void };

function shardAt(index: number): TestShard {
  const messages: HubMessage[] = [];
  return { index, counts: undefined, messages, send: (message) => messages.push(message) };
}

describe('admission over all shards', () => {
  let shards: TestShard[];
  let settings: ReturnType<typeof settingsWith>;
  let admission: AdmissionControl;

  const told = (type: HubMessage['type']) =>
    shards.map(({ messages }) => messages.findLast((message) => message.type === type));
  const allowances = () => told('allowance').map((message) => message?.type === 'allowance' && message.connections);

  beforeEach(() => {
    shards = [shardAt(0), shardAt(1)];
    settings = settingsWith({ gateway: { connections: { max: 10, perIp: 1 } } });
    admission = new AdmissionControl({ shards, settings: () => settings, log: pino({ level: 'silent' }) });
    for (const shard of shards) admission.started(shard);
  });

  it('tells a shard that starts its allowance and whether a resource is short', () => {
    const first = shards[0]!.messages.flatMap((message) => (message.type === 'allowance' ? message.connections : []));
    assert.deepEqual(first, [10, 5], 'alone, then beside another');
    assert.deepEqual(told('short'), [
      { type: 'short', resource: undefined },
      { type: 'short', resource: undefined },
    ]);
  });

  it('shares the limit of connections by what shards report, and follows a change of it', () => {
    const report = (index: number, connections: number) => {
      const message = shards[index]!.messages.findLast(({ type }) => type === 'allowance');
      const allowanceGeneration = message?.type === 'allowance' ? message.generation : 0;
      shards[index]!.counts = { ...newCounts(), connections, allowanceGeneration };
      admission.reported(index, shards[index]!.counts!);
    };
    for (let turn = 0; turn < 3; turn++) for (const index of [0, 1]) report(index, index === 0 ? 0 : 4);
    assert.deepEqual(allowances(), [3, 7]);
    settings = settingsWith({ gateway: { connections: { max: 4 } } });
    admission.share();
    assert.deepEqual(allowances(), [0, 4]);
  });

  it('counts connections per address over all shards', () => {
    const answers = () => shards.map(({ messages }) => messages.filter(({ type }) => type === 'admitted'));
    admission.admit(shards[0]!, 'a', 1);
    admission.admit(shards[1]!, 'a', 2);
    admission.released(shards[0]!, 'a');
    admission.admit(shards[1]!, 'a', 3);
    admission.died(1);
    admission.admit(shards[0]!, 'a', 4);
    assert.deepEqual(answers(), [
      [
        { type: 'admitted', ask: 1, refused: false },
        { type: 'admitted', ask: 4, refused: false },
      ],
      [
        { type: 'admitted', ask: 2, refused: true },
        { type: 'admitted', ask: 3, refused: false },
      ],
    ]);
  });
});
