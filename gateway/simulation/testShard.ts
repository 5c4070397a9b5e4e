import assert from 'node:assert/strict';
import { mock } from 'node:test';
import { Form } from '@pushcluster/protocol/wireForms.ts';
import { createLog } from '@pushcluster/runtime/log.ts';
import type { Identity } from '../admission/identity.ts';
import { InvalidToken } from '../admission/tokens/tokenVerifier.ts';
import { type ChannelKey, roomKey } from '../ipc/channelKey.ts';
import type { ShardMessage } from '../ipc/messages.ts';
import type { Connection } from '../shard/connection.ts';
import { Shard } from '../shard/shard.ts';
import { settingsWith } from './hub.ts';
import { FakeLoop, FakeSocket } from './shard.ts';

/** A shard under test, in place of whose hub, engine and clock the test stands. */

const log = createLog('shard', 'error');
log.level = 'silent';

export const ANYONE: Identity = { expires: 0 };
export const ROOM = roomKey('r');
export const TIME = { withinMs: 8_000, overlapMs: 2_000 };

export let loop: FakeLoop;
export let shard: Shard;
export let toHub: ShardMessage[];
/** The second in which the next frame comes. */
export let second: number;
/** What the verifier knows, by token. */
export let identities: Map<string, Identity | Error>;

export type Peer = { connection: Connection; socket: FakeSocket };

/** Starts a shard with default settings, and puts a test in place of time. Call it before each test. */
export function reset(): void {
  start();
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
}

export function start(settings: object = {}) {
  loop = new FakeLoop();
  toHub = [];
  second = 1;
  identities = new Map();
  shard = new Shard(settingsWith(settings), log, (message) => toHub.push(message), loop);
  shard.verifier = {
    verifyNow: () => undefined,
    async verify(token) {
      const identity = identities.get(token) ?? new InvalidToken('token refused: unknown');
      if (identity instanceof Error) throw identity;
      return identity;
    },
    close() {},
  };
}

export function open(form: Form = Form.v1, identity: Identity | undefined = ANYONE, capacity?: number): Peer {
  return opened(form, identity, capacity);
}

export function stranger(form: Form = Form.v1): Peer {
  return opened(form, undefined);
}

function opened(form: Form, identity: Identity | undefined, capacity?: number): Peer {
  const socket = new FakeSocket(capacity);
  const connection = shard.open(socket, form, identity, undefined);
  // The engine calls back at once; a socket may be ended as soon as it is opened.
  socket.onEnd = (code) => shard.closed(connection, code);
  return { connection, socket };
}

export function send({ connection }: Peer, frame: object | string) {
  const text = typeof frame === 'string' ? frame : JSON.stringify(frame);
  shard.received(connection, text, Buffer.byteLength(text), nextSecond());
}

/** A second passes. Each frame comes in a second of its own, so that the inbound rate is no other test's concern. */
export function nextSecond(): number {
  return second++;
}

/** JOIN and LEAVE, with an `id` where one is given. */
export function join(peer: Peer, room: string, id?: number) {
  send(peer, { type: 'JOIN', ...(id === undefined ? {} : { id }), data: { room } });
}

export function leave(peer: Peer, room: string, id?: number) {
  send(peer, { type: 'LEAVE', ...(id === undefined ? {} : { id }), data: { room } });
}

export async function auth(peer: Peer, token: string, id?: number) {
  send(peer, { type: 'AUTH', ...(id === undefined ? {} : { id }), data: { token } });
  await new Promise(setImmediate);
}

export function forms(key?: ChannelKey): Extract<ShardMessage, { type: 'forms' }>[] {
  const all = toHub.filter((message) => message.type === 'forms');
  return key === undefined ? all : all.filter((message) => message.key === key);
}

/** The hub's answer to the last word on a channel's forms. */
export function confirm(key: ChannelKey) {
  const last = forms(key).at(-1);
  assert.ok(last);
  shard.handle({ type: 'subscribed', key, mask: last.mask, generation: last.generation });
  verify();
}

/** The hub's answer to the last question whether the bus is there. */
export function verify() {
  loop.idle();
  const asked = toHub.filter((message) => message.type === 'verify').at(-1);
  if (asked) shard.handle({ type: 'verified', receipt: asked.receipt });
}

/** A frame of `items` items to a channel, whose text says where it goes. */
export function push(key: ChannelKey, items = 1) {
  const bytes = Buffer.from(JSON.stringify({ type: 'PUSH', data: { key } }));
  const frames = [Form.plain, Form.v1, Form.deflate].map((form) => ({ form, binary: false, bytes }));
  shard.frame({ key, items, frames, ages: [], size: 100 });
  loop.idle();
}

export const pushes = ({ socket }: Peer) =>
  socket.frames.filter(({ type }) => type === 'PUSH').map(({ data }) => String(data.key));
export const last = ({ socket }: Peer) => socket.frames.at(-1);
export const closing = ({ socket }: Peer) => socket.ended?.code;
