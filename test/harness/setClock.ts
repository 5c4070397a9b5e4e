import { readFileSync } from 'node:fs';

/**
 * Preloaded (`--import`) into processes of a test: shifts their wall clock by the milliseconds in the JSON file
 * CLOCK_FILE, which has one number for shards of gateways and one for all other processes. Monotonic clocks are not
 * shifted.
 */
const path = process.env.CLOCK_FILE ?? '';
const part = process.argv[1]?.endsWith('gateway/shard/main.ts') ? 'shards' : 'others';
const RealDate = Date;

// Read at each call, so that a step of the clock reaches all processes at once.
const now = () => RealDate.now() + Number(JSON.parse(readFileSync(path, 'utf8'))[part]);

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args, newTarget) => Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
  get: (target, key) => (key === 'now' ? now : Reflect.get(target, key)),
});
