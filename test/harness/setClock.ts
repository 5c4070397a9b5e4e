import { readFileSync } from 'node:fs';

/**
 * Preloaded (`--import`) into processes of a test: their time of day is off by the milliseconds that the JSON file
 * CLOCK_FILE says, one number for gateways' shards and one for all others. Clocks that nobody sets run on.
 */
const path = process.env.CLOCK_FILE ?? '';
const part = process.argv[1]?.endsWith('gateway/shard/main.ts') ? 'shards' : 'others';
const RealDate = Date;

// Read at each look: a step is there for all of them at once.
const now = () => RealDate.now() + Number(JSON.parse(readFileSync(path, 'utf8'))[part]);

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args, newTarget) => Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
  get: (target, key) => (key === 'now' ? now : Reflect.get(target, key)),
});
