/**
 * The limit of the store: pushes straight to the stream, as many in flight as clients of logic's API have.
 * Usage: storeLoop.ts SETTINGS (JSON: `Settings` below); prints `done` with the rate.
 */
import { encodePush, joinItems } from '@pushcluster/protocol/push.ts';
import { connect, headers } from 'nats';
import { z } from 'zod';
import { CONNECTIONS } from './httpLoad.ts';
import { ItemMaker, stampNow } from './items.ts';

const Settings = z.object({
  servers: z.array(z.string()),
  stream: z.string(),
  subjects: z.array(z.string()),
  seconds: z.number(),
});
const Answer = z.looseObject({});

const { servers, stream, subjects, seconds } = Settings.parse(JSON.parse(process.argv[2] ?? '{}'));
const nats = await connect({ servers });
const items = joinItems([new TextEncoder().encode(new ItemMaker('plain').next(stampNow()))]);
const now = Date.now();
const header = {
  publisher: 'store',
  counter: 1,
  at: now,
  begun: now,
  beat: 0,
  mark: 1,
  first: 0,
  urgent: false,
  id: '',
};
const bytes = encodePush({ ...header, items });
let next = 0;
const began = performance.now();
const until = began + seconds * 1_000;
await Promise.all(
  Array.from({ length: CONNECTIONS }, async () => {
    while (performance.now() < until) {
      const head = headers();
      head.set('Nats-Msg-Id', `${process.pid}-${next}`);
      head.set('Nats-Expected-Stream', stream);
      const answer = await nats.request(subjects[next++ % subjects.length]!, bytes, { headers: head, timeout: 5_000 });
      if ('error' in Answer.parse(answer.json())) throw new Error(answer.string());
    }
  }),
);
const rate = (1_000 * next) / (performance.now() - began);
await nats.close();
process.stdout.write(`${JSON.stringify({ event: 'done', rate })}\n`);
