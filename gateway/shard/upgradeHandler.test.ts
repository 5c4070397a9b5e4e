import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Subprotocol } from '@pushcluster/protocol/wireForms.ts';
import { pino } from 'pino';
import type { Refusal } from '../admission/refusal.ts';
import { InvalidToken } from '../admission/tokens/tokenVerifier.ts';
import type { ShardMessage } from '../ipc/messages.ts';
import { settingsWith } from '../simulation/hub.ts';
import { FakeLoop, FakeSocket } from '../simulation/shard.ts';
import type { HttpRequest, HttpResponse } from './engine.ts';
import { Shard } from './shard.ts';
import { UpgradeHandler, type UserData } from './upgradeHandler.ts';

const FULL: Refusal = { status: 503, code: 'full', detail: 'full' };
const V1 = { 'sec-websocket-protocol': Subprotocol.v1 };

/** A response that keeps what it is answered. */
class FakeResponse implements HttpResponse {
  status: string | undefined;
  readonly headers = new Map<string, string>();
  /** The WebSocket that it became. */
  socket: FakeSocket | undefined;
  data: UserData | undefined;
  abort: () => void = () => {};

  cork(write: () => void): void {
    write();
  }

  writeStatus(status: string): void {
    this.status = status;
  }

  writeHeader(name: string, value: string): void {
    this.headers.set(name, value);
  }

  end(): void {}

  endWithoutBody(): void {}

  onData(): void {}

  onAborted(aborted: () => void): void {
    this.abort = aborted;
  }

  getRemoteAddressAsText(): ArrayBuffer {
    return new TextEncoder().encode('10.0.0.9').buffer;
  }

  upgrade<T>(userData: T): void {
    const data = userData as UserData;
    this.socket = new FakeSocket();
    this.data = data;
    data.open?.(this.socket, data);
  }
}

function request(headers: Record<string, string>, token?: string): HttpRequest {
  const all: Record<string, string> = { 'sec-websocket-version': '13', ...headers };
  return {
    getHeader: (name) => all[name] ?? '',
    getQuery: (name) => (name === 'token' ? token : undefined),
    getMethod: () => 'get',
    getUrl: () => '/connect',
    forEach: (visit) => {
      for (const [name, value] of Object.entries(all)) visit(name, value);
    },
  };
}

describe('a request to upgrade', () => {
  let shard: Shard;
  let toHub: ShardMessage[];
  let overload: Refusal | undefined;
  /** Handshakes that wait for the hub's answer. */
  let asked: { address: string; answer: (allowed: boolean) => void }[];
  let handler: UpgradeHandler;

  beforeEach(() => start({}));

  function start(gateway: object) {
    toHub = [];
    asked = [];
    overload = undefined;
    const log = pino({ level: 'silent' });
    shard = new Shard(settingsWith({ gateway }), log, (message) => toHub.push(message), new FakeLoop());
    handler = new UpgradeHandler({
      shard,
      log,
      protection: { refusal: () => overload },
      admit: (address) => new Promise((answer) => asked.push({ address, answer })),
      shards: () => 1,
      clientOf: () => undefined,
    });
  }

  function come(headers: Record<string, string> = {}, token?: string): FakeResponse {
    const response = new FakeResponse();
    handler.handle(response, request(headers, token), {});
    return response;
  }

  const settled = async () => {
    for (let turn = 0; turn < 2; turn++) await new Promise(setImmediate);
  };

  it('is accepted within the engine’s handler if nothing has to be awaited', () => {
    const { data, status } = come(V1);
    assert.equal(status, undefined);
    assert.equal(data?.connection?.v1, true);
    assert.equal(shard.connections, 1);
  });

  it('is accepted at once by a token that can be checked at once', () => {
    shard.verifier = {
      verifyNow: () => ({ user: 'u', expires: 0 }),
      verify: () => Promise.reject(new Error('not asked')),
      close() {},
    };
    assert.equal(come(V1, 't').data?.connection?.user, 'u');
  });

  it('that is refused is closed with a code where the client knows the subprotocol, and answered by HTTP otherwise', () => {
    shard.verifier = {
      verifyNow: () => {
        throw new InvalidToken('token refused: it has expired');
      },
      verify: () => Promise.reject(new Error('not asked')),
      close() {},
    };
    assert.deepEqual(come(V1, 't').socket?.ended, { code: 4401, reason: 'token refused: it has expired' });
    const plain = come({ authorization: 'Bearer t' });
    assert.equal(plain.status, '401 Unauthorized');
    assert.equal(plain.headers.get('WWW-Authenticate'), 'Bearer');
    assert.deepEqual(shard.counts.refused, { token: 2 });
  });

  it('that is refused for overload gets the HTTP answer, and is told when to come back', () => {
    overload = FULL;
    const response = come(V1);
    assert.equal(response.status, '503 Service Unavailable');
    assert.match(response.headers.get('Retry-After') ?? '', /^[1-5]$/);
    assert.equal(response.socket, undefined);
  });

  it('takes a token of the accept rate only where it gets as far as that', () => {
    start({ connections: { acceptRate: 1 } });
    overload = FULL;
    for (let i = 0; i < 5; i++) come();
    overload = undefined;
    assert.ok(come().socket);
    assert.equal(come().status, '429 Too Many Requests');
    assert.deepEqual(shard.counts.refused, { full: 5, rate: 1 });
  });

  it('waits for the hub’s count of its address', async () => {
    start({ connections: { perIp: 1 } });
    const [first, second] = [come(), come()];
    assert.deepEqual(
      asked.map(({ address }) => address),
      ['10.0.0.9', '10.0.0.9'],
    );
    asked[0]!.answer(true);
    asked[1]!.answer(false);
    await settled();
    assert.ok(first.socket);
    assert.equal(second.status, '429 Too Many Requests');
    assert.deepEqual(shard.counts.refused, { per_ip: 1 });
    shard.closed(first.data!.connection!, 1000);
    assert.deepEqual(toHub.at(-1), { type: 'left', ip: '10.0.0.9' });
  });

  it('is completed in a turn of its own, and never within another event of the engine', async () => {
    start({ connections: { perIp: 9 } });
    const response = come();
    asked[0]!.answer(true);
    for (let i = 0; i < 100; i++) await undefined;
    assert.equal(response.socket, undefined, 'promises go on before the engine’s event returns');
    await settled();
    assert.ok(response.socket);
  });

  it('gives its place among the connections of an address back if it is aborted or refused after all', async () => {
    start({ connections: { perIp: 9 } });
    const aborted = come();
    const late = come();
    aborted.abort();
    asked[0]!.answer(true);
    overload = FULL;
    asked[1]!.answer(true);
    await settled();
    assert.equal(aborted.socket, undefined);
    assert.equal(aborted.status, undefined, 'nobody is there to be answered');
    assert.equal(late.status, '503 Service Unavailable');
    assert.deepEqual(toHub, [
      { type: 'left', ip: '10.0.0.9' },
      { type: 'left', ip: '10.0.0.9' },
    ]);
  });

  it('that goes while its token is checked costs the hub no question', async () => {
    start({ connections: { perIp: 9 } });
    shard.verifier = { verifyNow: () => undefined, verify: async () => ({ expires: 0 }), close() {} };
    const response = come(V1, 't');
    response.abort();
    await settled();
    assert.deepEqual([asked, response.socket, response.status], [[], undefined, undefined]);
  });
});
