/** Numbers that look random and are the same again for the same seed (mulberry32). */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** From 0 (included) to 1 (excluded). */
  real(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** From 0 (included) to `end` (excluded). */
  below(end: number): number {
    return Math.floor(this.real() * end);
  }

  /** True once in `times`. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(choices: readonly T[]): T {
    if (choices.length === 0) throw new Error('nothing to pick from');
    return choices[this.below(choices.length)]!;
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }

  /** Small mostly, and now and then as large as `longest`. */
  length(longest: number): number {
    return this.once(10) ? this.below(longest + 1) : this.below(Math.min(64, longest) + 1);
  }
}

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
