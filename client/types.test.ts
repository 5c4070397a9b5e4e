import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

/** The published types, as a stranger's strict project has them: without our sources, settings and workspaces. */

const SDK = "'@pushcluster/client'";

const PAGE = `
import {
  type Backoff, type Clock, CloseCode, type Closed, type Gap, type Lagged, type Left, type LinkState, PushClient, PushError,
  type PushErrorCode, type PushEvents, type PushOptions, type JoinOptions, type ResetReason, type Room, type RoomEvents,
  type RoomPosition, type Socket, type SocketConstructor, type Stream,
  type StreamEvents, type TokenSource, type WireFrame,
} from ${SDK};

type Comment = { text: string };
declare function fetchToken(): Promise<string>;
declare function perhaps(): string | undefined;
declare function show(comment: Comment): void;

export async function use() {
  const push = new PushClient('wss://push.example.com/connect', { token: () => fetchToken() });
  const room = push.join<Comment>('match-7');
  await room.joined;
  for await (const comment of room) show(comment);
  const stop: () => void = room.on('item', (item) => show(item));
  stop();
  room.on('lagged', ({ room: name, dropped, reason }) => [name?.length, dropped.toFixed(), reason.length]);
  const position: RoomPosition | undefined = room.position;
  push.join('match-7', { since: position, last: 50, signal: null });
  push.join('match-7', { since: JSON.parse('null'), last: undefined });
  room.on('resumed', ({ items }) => items.toFixed());
  room.on('reset', ({ reason }) => {
    const known: ResetReason = reason;
    return known === 'unrecovered' || known === 'reset';
  });
  // @ts-expect-error only rooms have a history
  push.all.on('resumed', () => {});
  // @ts-expect-error a position has both
  push.join('match-7', { since: { seq: 7 } });
  push.on('gap', ({ publisher, missed }) => [publisher.length, missed.toFixed()]);
  push.on('state', (state) => {
    const known: 'connecting' | 'open' | 'moving' | 'waiting' | 'closed' = state;
    return known;
  });
  push.on('open', () => {});
  push.on('close', ({ code, reason, willRetry, retryIn }) => code === CloseCode.disconnected && [reason.length, willRetry, retryIn ?? 0]);
  push.on('error', (error) => {
    const code: PushErrorCode = error.code;
    return [error instanceof PushError, code, error.cause];
  });
  push.on('frame', ({ bytes, text, items, at }: WireFrame) => [bytes + items + at, text.length]);
  push.all.on('item', (item: unknown) => item);
  // @ts-expect-error there is no such event
  push.on('message', () => {});
  // @ts-expect-error a room has a name
  push.join();
  // @ts-expect-error which is a string
  push.join(7);
  // @ts-expect-error numbers are numbers
  new PushClient('ws://a/connect', { queueLimit: '7' });
  const options: PushOptions = {
    token: perhaps(),
    backoff: { base: undefined, cap: null },
    signal: new AbortController().signal,
    protocols: ['pushcluster.v1'] as const,
    clock: { now: () => 0, after: () => () => {} },
  };
  const one: Room<Comment> = push.join('r', { signal: AbortSignal.timeout(5) });
  const iterator = one[Symbol.asyncIterator]();
  const { value, done } = await iterator.next();
  if (!done) show(value);
  await iterator.return?.();
  new PushClient(new URL('https://a/connect'), options).close();
  const source: TokenSource = async () => perhaps();
  const named: [Backoff?, Clock?, Closed?, Gap?, Lagged?, Left?, LinkState?, PushEvents?, Socket?, SocketConstructor?, Stream?, StreamEvents<Comment>?] = [];
  return { source, named };
}
`;

const NODE = `
import { PushClient } from ${SDK};
import { WebSocket as Other } from 'ws';

export const platforms = [WebSocket, Other].map((each) => new PushClient('ws://a/connect', { WebSocket: each }));
`;

const resolve = createRequire(import.meta.url).resolve;
const STRICT = '--noEmit --strict --exactOptionalPropertyTypes --noUncheckedIndexedAccess --target es2022'.split(' ');

for (const [platform, files, flags] of [
  ['a page', ['page.ts'], '--module esnext --moduleResolution bundler --lib es2022,dom,dom.iterable --types'],
  ['Node', ['page.ts', 'node.ts'], '--module nodenext --lib es2022 --types node'],
] as const)
  test(`the types hold in a strict project for ${platform}, and all that the document names is there`, (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'sdk-types-'));
    t.after(() => rmSync(folder, { recursive: true }));
    mkdirSync(join(folder, 'node_modules', '@types'), { recursive: true });
    mkdirSync(join(folder, 'node_modules', '@pushcluster'));
    symlinkSync(import.meta.dirname, join(folder, 'node_modules', '@pushcluster', 'client'));
    for (const name of ['@types/ws', '@types/node', 'undici-types'])
      symlinkSync(dirname(resolve(`${name}/package.json`)), join(folder, 'node_modules', name));
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    writeFileSync(join(folder, 'page.ts'), PAGE);
    writeFileSync(join(folder, 'node.ts'), NODE);
    const tsc = join(dirname(resolve('typescript/package.json')), 'bin', 'tsc');
    // No types of Node's in a page: an empty list.
    const args = [tsc, ...STRICT, ...flags.split(' '), ...(platform === 'Node' ? [] : ['']), ...files];
    const { stdout, status } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
    assert.equal(stdout, '');
    assert.equal(status, 0);
  });
