import type { Chance } from '../harness/chance.ts';
import { binary, close, fragments, frame, Opcode, ping, text, upgradeRequest } from '../harness/rawWebSocket.ts';
import { mutated } from './mutated.ts';

/** What a stranger may send to a gateway: handshakes, frames and messages, right, nearly right and wrong. */

const ROOMS = [
  'r',
  'fuzz',
  'a room with a long name '.repeat(5).slice(0, 128),
  '😀',
  '"',
  '\u0000',
  '*',
  '>',
  '..',
] as const;
const PROTOCOLS = [undefined, 'pushcluster.v1', 'pushcluster.v1.deflate', 'chat, pushcluster.v1', ','] as const;
const PATHS = [
  '/connect',
  '/connect',
  '/connect',
  '/connect?token=x',
  '/connect?token=',
  '/ws',
  '/',
  '/%00',
  '//',
] as const;

/** A handshake that the gateway accepts. */
export function goodHandshake(chance: Chance): string {
  return upgradeRequest('/connect', { headers: { 'Sec-WebSocket-Protocol': chance.pick(PROTOCOLS) } });
}

/** A handshake of which anything may be wrong. */
export function anyHandshake(chance: Chance): Buffer {
  const request = upgradeRequest(chance.pick(PATHS), {
    method: chance.pick(['GET', 'POST', 'get', 'OPTIONS', 'X']),
    version: chance.pick(['HTTP/1.1', 'HTTP/1.0', 'HTTP/2', '']),
    headers: {
      'Sec-WebSocket-Protocol': chance.pick(PROTOCOLS),
      'Sec-WebSocket-Version': chance.pick(['13', '8', undefined]),
      Authorization: chance.pick([undefined, 'Bearer x', 'Bearer  ', 'Basic eA==', `Bearer ${'x'.repeat(3_000)}`]),
      Origin: chance.pick([undefined, 'null', 'https://example.org', 'é']),
      'X-Forwarded-For': chance.pick([undefined, '1.2.3.4', ',,,', 'x'.repeat(500)]),
    },
  });
  return chance.once(2) ? Buffer.from(request) : mutated(Buffer.from(request), chance);
}

/** Frames that RFC 6455 allows, with JSON in them: odd, but no reason to close the connection. */
export function oddFrames(chance: Chance): Buffer[] {
  switch (chance.below(6)) {
    case 0:
      return [ping(chance.bytes(chance.below(126)))];
    case 1:
      return [binary(chance.bytes(chance.length(1_000)))];
    case 2:
      return [text(JSON.stringify(anyValue(chance, 4)))];
    case 3: {
      const message = Buffer.from(goodMessage(chance));
      const middle = chance.below(message.length);
      return fragments(Opcode.text, message.subarray(0, middle), message.subarray(middle));
    }
    default:
      return [text(goodMessage(chance))];
  }
}

/** Any bytes for an open connection: a few frames at most. */
export function anyFrames(chance: Chance): Buffer[] {
  switch (chance.below(10)) {
    case 0:
      return [chance.bytes(chance.length(2_000))];
    case 1:
      return [
        frame({
          opcode: chance.below(16),
          payload: chance.bytes(chance.length(200)),
          fin: chance.once(2),
          rsv: chance.below(8),
        }),
      ];
    case 2:
      return [frame({ opcode: chance.below(3), payload: chance.bytes(8), length: 2 ** chance.below(53) })];
    case 3:
      return [
        chance.pick([
          ping(chance.bytes(chance.below(126))),
          frame({ opcode: Opcode.pong }),
          binary(chance.bytes(chance.length(5_000))),
        ]),
      ];
    case 4:
      return inFragments(anyMessage(chance), chance);
    case 5:
      return [mutated(text(anyMessage(chance)), chance)];
    case 6:
      return chance.once(4)
        ? [close(chance.below(65_536), chance.bytes(chance.below(124)))]
        : [text(goodMessage(chance))];
    default:
      return [text(anyMessage(chance))];
  }
}

function inFragments(message: Buffer, chance: Chance): Buffer[] {
  const frames: Buffer[] = [];
  let at = 0;
  do {
    const length = chance.length(message.length - at + 1);
    const last = at + length >= message.length || chance.once(8);
    // Sometimes the wrong opcode, or no end.
    const opcode = frames.length === 0 || chance.once(30) ? Opcode.text : Opcode.continuation;
    frames.push(frame({ opcode, payload: message.subarray(at, at + length), fin: last && !chance.once(20) }));
    if (chance.once(5)) frames.push(ping('between'));
    at += length;
    if (last) break;
  } while (frames.length < 50);
  return frames;
}

function anyMessage(chance: Chance): Buffer {
  switch (chance.below(4)) {
    case 0:
      return Buffer.from(goodMessage(chance));
    case 1:
      return Buffer.from(JSON.stringify(anyValue(chance, 4)));
    default:
      return mutated(Buffer.from(goodMessage(chance)), chance);
  }
}

function goodMessage(chance: Chance): string {
  const id = chance.pick([undefined, 1, 0, -1, 1.5, 'x', '', 'x'.repeat(300), null, [], {}]);
  const type = chance.pick(['PING', 'JOIN', 'JOIN', 'LEAVE', 'AUTH', 'PUSH', 'toString', '__proto__', 1, null]);
  const data = chance.pick([
    undefined,
    {},
    { room: chance.pick(ROOMS) },
    { room: chance.pick(ROOMS), since: { epoch: 'e', seq: 1 }, last: 50 },
    { room: chance.pick([1, null, [], {}, '', 'x'.repeat(129), '\ud800']) },
    { token: chance.pick(['', 'x', 'a.b.c', 'eyJhbGciOiJub25lIn0.e30.', 1, null]) },
    anyValue(chance, 2),
  ]);
  return JSON.stringify({ type, id, data });
}

function anyValue(chance: Chance, depth: number): unknown {
  const choice = chance.below(depth > 0 ? 8 : 6);
  switch (choice) {
    case 0:
      return null;
    case 1:
      return chance.once(2);
    case 2:
      return chance.pick([0, -1, 1e308, 2 ** 53, 0.1]);
    case 3:
      return chance.pick(ROOMS);
    case 4:
      return chance.pick(['type', 'JOIN', 'PING', 'room', '']);
    case 5:
      return chance.bytes(chance.length(100)).toString('latin1');
    case 6:
      return Array.from({ length: chance.below(5) }, () => anyValue(chance, depth - 1));
    default: {
      const keys = ['type', 'id', 'data', 'room', 'token', '__proto__', 'x'];
      return Object.fromEntries(
        Array.from({ length: chance.below(5) }, () => [chance.pick(keys), anyValue(chance, depth - 1)]),
      );
    }
  }
}
