import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as control from '@pushcluster/protocol/control.ts';
import { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import * as push from '@pushcluster/protocol/push.ts';
import fc from 'fast-check';
import { z } from 'zod';
import { Baseline, functionOf, schemaOf } from '../harness/baseline.ts';

const PushModule = z.object({
  PUSH_VERSION: z.number(),
  encodePush: functionOf<(message: object) => Uint8Array>(),
  decodePush: functionOf<(bytes: Uint8Array) => push.Push>(),
  encodeUserPush: functionOf<(message: object) => Uint8Array>(),
  decodeUserPush: functionOf<(bytes: Uint8Array) => push.UserPush>(),
});
const ControlModule = z.object({
  Command: schemaOf<control.Command>(),
  Stat: schemaOf<control.Stat>(),
  Answer: schemaOf<control.Answer>(),
});
const StatusModule = z.object({ PodStatus: schemaOf<PodStatus>() });

let baseline: Baseline;
let old: z.infer<typeof PushModule>;
let oldControl: z.infer<typeof ControlModule>;
let oldStatus: z.infer<typeof StatusModule>;
before(async () => {
  baseline = new Baseline();
  old = await baseline.load('protocol/push.ts', PushModule);
  oldControl = await baseline.load('protocol/control.ts', ControlModule);
  oldStatus = await baseline.load('protocol/podStatus.ts', StatusModule);
});
after(() => baseline.remove());

const text = fc.string({ maxLength: 40 });
const items = fc
  .array(fc.json({ maxDepth: 1 }), { maxLength: 5 })
  .map((texts) => push.joinItems(texts.map((each) => Buffer.from(each))));
const header = fc
  .record({
    publisher: fc.stringMatching(/^[a-z0-9]{1,12}(\.[1-9])?$/),
    counter: fc.integer({ min: 1, max: 2 ** 40 }),
    at: fc.integer({ min: 0, max: 2 ** 41 }),
    begun: fc.integer({ min: 0, max: 2 ** 41 }),
    beat: fc.integer({ min: 0, max: 2 ** 31 }),
    first: fc.integer({ min: 0, max: 2 ** 31 }),
    urgent: fc.boolean(),
    id: text,
  })
  .map((each) => ({ ...each, mark: each.counter }));
const roomPush = fc.tuple(header, items).map(([head, each]) => ({ ...head, items: each }));
const entries = fc.array(
  fc.record({ users: fc.array(text, { maxLength: 3 }), id: text, urgent: fc.boolean(), items }),
  { maxLength: 3 },
);
const userPush = fc.tuple(header, entries).map(([head, each]) => ({ ...head, entries: each }));

/** What every version knows of a message, with its items as text. */
function common(message: push.Push | push.UserPush): object {
  const { publisher, counter, at, urgent, id } = message;
  const said = (each: push.Items) => ({ lengths: [...each.lengths], text: Buffer.from(each.bytes).toString() });
  const body =
    'items' in message ? said(message.items) : message.entries.map((entry) => ({ ...entry, items: said(entry.items) }));
  return { publisher, counter, at, urgent, id, body };
}

/** The message as a version to come would send it: its number, and 16 bytes that are not known yet in its header. */
function ofTheFuture(bytes: Uint8Array): Uint8Array {
  const length = Buffer.from(bytes).readUInt16LE(1);
  const head = Buffer.from(bytes.subarray(0, 3 + length));
  head.writeUInt8(99, 0);
  head.writeUInt16LE(length + 16, 1);
  return Buffer.concat([head, Buffer.alloc(16, 0xff), bytes.subarray(3 + length)]);
}

describe('pushes on the bus', () => {
  it('are of another version than those of the baseline', () => {
    assert.ok(old.PUSH_VERSION < push.PUSH_VERSION);
  });

  it('of this logic are read by the old gateway, and those of the old logic by this gateway', () => {
    fc.assert(
      fc.property(roomPush, (message) => {
        assert.deepEqual(common(old.decodePush(push.encodePush(message))), common(message));
        assert.deepEqual(common(push.decodePush(old.encodePush(message))), common(message));
      }),
    );
    fc.assert(
      fc.property(userPush, (message) => {
        assert.deepEqual(common(old.decodeUserPush(push.encodeUserPush(message))), common(message));
        assert.deepEqual(common(push.decodeUserPush(old.encodeUserPush(message))), common(message));
      }),
    );
  });

  it('of a version to come, with fields that are unknown today, are read by the old gateway and by this one', () => {
    fc.assert(
      fc.property(roomPush, userPush, (message, toUsers) => {
        const bytes = ofTheFuture(push.encodePush(message));
        assert.deepEqual(common(push.decodePush(bytes)), common(message));
        assert.deepEqual(common(old.decodePush(bytes)), common(message));
        const forUsers = ofTheFuture(push.encodeUserPush(toUsers));
        assert.deepEqual(common(push.decodeUserPush(forUsers)), common(toUsers));
        assert.deepEqual(common(old.decodeUserPush(forUsers)), common(toUsers));
      }),
    );
  });
});

describe('commands, reports and answers on the bus', () => {
  const stats = {
    ...{ gateway: 'g', connections: 1, rooms: 2, shards: 3, messagesDelivered: 4, framesSent: 5, bytesSent: 6 },
    ...{ messagesDropped: 7, draining: false, startedAt: 8 },
  };
  const stat = {
    ...stats,
    leaving: true,
    unasked: 1,
    rebalancing: true,
    busConnections: 2,
    template: 't',
    histories: {},
  };
  const answers = [
    { type: 'room', ask: 'a', gateway: 'g', connections: 1, missing: 0, gateways: 2 },
    {
      type: 'rooms',
      ask: 'a',
      gateway: 'g',
      rooms: [{ room: 'r', connections: 1 }],
      total: 1,
      missing: 0,
      gateways: 2,
    },
    { type: 'user', ask: 'a', gateway: 'g', connections: 1, missing: 0, gateways: 2 },
    { type: 'stats', ask: 'a', gateway: 'g', stats, histories: { e: 5 }, missing: 0, gateways: 2 },
  ];
  const commands = [
    { type: 'disconnect_user', user: 'u', reason: 'r' },
    { type: 'disconnect_room', room: 'r', reason: 'r' },
    { type: 'rooms', reply: 's', ask: 'a', limit: 1 },
    { type: 'room', reply: 's', ask: 'a', room: 'r' },
    { type: 'user', reply: 's', ask: 'a', user: 'u' },
    { type: 'stats', reply: 's', ask: 'a' },
  ];
  const later = { later: { than: 'today' } };

  it('are read by the other version, with fields that it does not know', () => {
    for (const version of [oldControl, ControlModule.parse(control)]) {
      for (const command of commands) assert.deepEqual(version.Command.parse({ ...command, ...later }), command);
      for (const answer of answers)
        assert.partialDeepStrictEqual(answer, version.Answer.parse({ ...answer, ...later }));
      assert.partialDeepStrictEqual(stat, version.Stat.parse({ ...stat, ...later }));
    }
  });

  it('are read without the fields that came later', () => {
    assert.equal(control.Stat.parse(stats).template, '');
    control.SessionOpened.parse({ gateway: 'g', user: 'u', at: 1, ...later });
    for (const { missing: _, gateways: __, ...answer } of answers) control.Answer.parse(answer);
  });

  it('of an unknown type are ignored: they are no command of either version', () => {
    const command = { type: 'reload_everything', at: 1 };
    for (const version of [oldControl, control]) assert.equal(version.Command.safeParse(command).success, false);
  });
});

describe('the status of a pod', () => {
  const settings = { generation: 1, file: 'a'.repeat(64) };
  const status = {
    ...{ version: '1', role: 'gateway', name: 'g', draining: false, settings },
    ...{ fds: { limit: 9, open: 1 }, pressure: { memory: 0.5 }, bus: { connected: true } },
  };

  it('is read by the operator of either version, with fields that it does not know', () => {
    const said = { ...status, connections: 1, bytesSentTotal: 2, fuller: true, later: true };
    const reported = { ...said, settings: { ...settings, ignored: 'gateway.mirror: unknown key' } };
    for (const schema of [oldStatus.PodStatus, PodStatus]) assert.equal(schema.parse(reported).connections, 1);
  });

  it('is read by this operator without optional fields, and where they have another form', () => {
    assert.equal(PodStatus.parse(status).connections, undefined);
    const odd = {
      connections: { total: 5 },
      fuller: 'somewhat',
      bytesSentTotal: '12',
      pressure: { memory: 1.5, fds: 0.2 },
    };
    const read = PodStatus.parse({ ...status, ...odd });
    assert.deepEqual([read.connections, read.fuller, read.bytesSentTotal], [undefined, undefined, undefined]);
    assert.equal(read.pressure.fds, 0.2);
    assert.equal(read.pressure.memory, undefined);
  });
});
