import type { Chance } from '../harness/chance.ts';

/** Changes a few bytes: flips, cuts, repeats, insertions of bytes that parsers trip over. */
export function mutated(bytes: Buffer, chance: Chance): Buffer {
  let result = Buffer.from(bytes);
  for (let changes = 1 + chance.below(4); changes > 0; changes--) {
    const at = chance.below(result.length + 1);
    const [head, tail] = [result.subarray(0, at), result.subarray(at)];
    switch (chance.below(6)) {
      case 0:
        if (at < result.length) result[at] = result[at]! ^ (1 << chance.below(8));
        break;
      case 1:
        result = Buffer.from(head);
        break;
      case 2:
        result = Buffer.concat([head, tail.subarray(chance.length(tail.length))]);
        break;
      case 3:
        result = Buffer.concat([head, chance.bytes(chance.length(64)), tail]);
        break;
      case 4:
        result = Buffer.concat([head, tail.subarray(0, chance.length(tail.length)), tail]);
        break;
      default:
        result = Buffer.concat([head, Buffer.from(chance.pick(TRAPS)), tail]);
    }
  }
  return result;
}

const TRAPS = [
  '"',
  '\\',
  '\\u',
  '\\ud800',
  '\u0000',
  '\ufeff',
  '\u2028',
  '😀',
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  'null',
  'true',
  '-0',
  '1e999',
  '9007199254740993',
  '"__proto__":{"type":"PING"}',
  '"constructor":1',
  '[['.repeat(500),
  '{"a":'.repeat(300),
  '\r\n\r\n',
] as const;
