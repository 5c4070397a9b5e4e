import { z } from 'zod';
import { Actor } from './actor.ts';
import { compiled } from './compile.ts';
import { SERVER_CORE } from './machine.ts';

const Listening = z.object({ port: z.number() });
const Done = z.object({ lastMark: z.number(), seconds: z.number(), lateMs: z.number() });
export type Done = z.infer<typeof Done>;

/** A server that sends prepared frames, as a reference for the gateway. */
export type Rival = {
  name: string;
  actor: Actor;
  port: number;
  /**
   * Sends a frame of `items` items of 100 bytes to all, `rate` times per second; resolves when the last frame was sent.
   */
  send(frame: { items: number; bytes: number; rate: number; seconds: number }): Promise<Done>;
};

/** The physical limit (sendloop.c). */
export async function sendLoop(host = '127.0.0.1'): Promise<Rival> {
  const actor = new Actor('send loop', SERVER_CORE, compiled('sendloop'), ['0', host]);
  const { port } = Listening.parse(await actor.next('listening'));
  return {
    name: 'send loop',
    actor,
    port,
    async send({ items, bytes, rate, seconds }) {
      actor.send(`run ${bytes} ${items} ${rate} ${seconds}`);
      return Done.parse(await actor.next('done', seconds * 1_000 + 60_000));
    },
  };
}

/** The engine alone (uwsloop.ts). */
export async function engineLoop(mode: 'publish' | 'send'): Promise<Rival> {
  const name = `uWebSockets.js ${mode}`;
  const actor = new Actor(name, SERVER_CORE, process.execPath, [`${import.meta.dirname}/uwsloop.ts`]);
  const { port } = Listening.parse(await actor.next('listening'));
  return {
    name,
    actor,
    port,
    async send({ items, rate, seconds }) {
      actor.send(JSON.stringify({ items, rate, seconds, mode }));
      return Done.parse(await actor.next('done', seconds * 1_000 + 60_000));
    },
  };
}
