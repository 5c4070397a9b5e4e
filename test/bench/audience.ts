import { z } from 'zod';
import { Actor } from './actor.ts';
import { compiled } from './compile.ts';
import { CLIENT_CORE } from './machine.ts';

const Counts = z.record(z.string(), z.number());

const Opened = z.object({
  open: z.number(),
  joined: z.number(),
  failed: z.number(),
  seconds: z.number(),
  /** Microseconds from connect() to the response. */
  handshake: z.object({ p50: z.number(), p99: z.number(), max: z.number() }),
  /** Failed handshakes by HTTP status; 0: no response. */
  refused: Counts,
});
export type Opened = z.infer<typeof Opened>;

const Stat = z.object({
  seconds: z.number(),
  open: z.number(),
  joined: z.number(),
  reading: z.number(),
  frames: z.number(),
  bytes: z.number(),
  items: z.number(),
  slowItems: z.number(),
  /** Missing items, according to the marks. */
  gaps: z.number(),
  /** Frames whose marks do not continue those of the frame before. */
  disorder: z.number(),
  lagged: z.object({ frames: z.number(), items: z.number() }),
  reconnects: z.number(),
  errors: z.number(),
  other: z.number(),
  broken: z.number(),
  pings: z.number(),
  leastMark: z.number(),
  mostMark: z.number(),
  quietMs: z.number(),
  /** Microseconds. */
  latency: z.object({ count: z.number(), p50: z.number(), p99: z.number(), max: z.number() }),
  cpu: z.object({ user: z.number(), system: z.number() }),
  closes: Counts,
  closingSeconds: z.number(),
  closesBySecond: z.array(z.number()),
  reconnectsBySecond: z.array(z.number()),
});
export type Stat = z.infer<typeof Stat>;

export type AudienceOptions = {
  port: number;
  /** An IPv4 address; 127.0.0.1 by default. */
  host?: string;
  /** Number of addresses of 127.0.1.0/24 to connect from; 0: the system chooses. */
  sources?: number;
  path?: string;
  subprotocol?: string;
  /** '': joins no room. */
  room?: string;
  /** If more than 0: connection n joins the room with the suffix n modulo this number. */
  rooms?: number;
  /** A file with one token per line; connections use them in turn. */
  tokens?: string;
  /** Maximum handshakes per second; 0: no limit. */
  rate?: number;
  /** Text frames to send after the upgrade instead of JOIN, separated by newlines; `{room}` stands for the room. */
  hello?: string;
  /** Text in the frame that confirms the join; '': the upgrade confirms the join. */
  ready?: string;
  /** Index of the first connection, for tokens and source addresses. */
  first?: number;
};

/** The connections of one client process (client.c). */
export class Audience {
  readonly actor: Actor;

  /** @param within a command that runs the client elsewhere, such as in another network namespace */
  constructor(options: AudienceOptions, within: readonly string[] = []) {
    const args: string[] = [];
    for (const [name, value] of Object.entries(options)) args.push(`--${name}`, String(value));
    const [program = '', ...rest] = [...within, compiled('client'), ...args];
    this.actor = new Actor('client', CLIENT_CORE, program, rest);
  }

  /** Opens `count` more connections and waits until each has joined or failed. */
  async tryOpen(count: number): Promise<Opened> {
    this.actor.send(`more ${count}`);
    return Opened.parse(await this.actor.next('opened', 180_000));
  }

  /** Opens `count` more connections. Throws if one is refused. */
  async open(count: number): Promise<Opened> {
    const opened = await this.tryOpen(count);
    if (opened.failed > 0)
      throw new Error(
        `${opened.failed} of ${count} connections failed, by HTTP status: ${JSON.stringify(opened.refused)}`,
      );
    return opened;
  }

  /** Resets the counts at the start of a measurement. */
  start(): Promise<Stat> {
    return this.#ask('start');
  }

  stat(): Promise<Stat> {
    return this.#ask('stat');
  }

  /** Stops reading on the first `percent` of the connections; 0: resumes reading on all. */
  slow(percent: number): Promise<Stat> {
    return this.#ask(`slow ${percent}`, 'slow');
  }

  close(): Promise<Stat> {
    return this.#ask('close');
  }

  /**
   * Waits until all reading connections have received the item `mark`, or nothing has arrived for `patience`
   * milliseconds. Returns the counts of that moment.
   */
  async drained(mark: number, patience = 4_000): Promise<Stat> {
    const since = performance.now();
    for (;;) {
      const stat = await this.stat();
      if (stat.leastMark >= mark) return stat;
      // Data that arrived before this call does not show whether more is in flight.
      const waited = performance.now() - since;
      const quiet = stat.quietMs < 0 ? waited : Math.min(waited, stat.quietMs);
      if (quiet > patience) return stat;
      await pause(20);
    }
  }

  /** Waits until nothing has arrived for `ms` milliseconds. */
  async quiet(ms: number): Promise<void> {
    for (;;) {
      const stat = await this.stat();
      if (stat.quietMs < 0 || stat.quietMs >= ms) return;
      await pause(5);
    }
  }

  async #ask(command: string, event = command): Promise<Stat> {
    this.actor.send(command);
    return Stat.parse(await this.actor.next(event, 120_000));
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
