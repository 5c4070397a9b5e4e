import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { setTimeout } from 'node:timers/promises';

/** A backend gives up after this time. */
const TIMEOUT_MS = 60_000;

/**
 * How a backend connects: it keeps a connection to one logic pod until the pod closes it, or opens a connection for
 * each push.
 */
export const HABITS = ['keeps its connection', 'connects for each push'] as const;
export type Habit = (typeof HABITS)[number];

/**
 * Backends that push to an empty room through the logic Service, one push after the other. Every push must be accepted:
 * each answer other than 202, and each broken connection, is recorded as a sentence.
 */
export class Backends {
  /** Pushes that were answered with 202. */
  readonly accepted: Record<Habit, number> = { 'keeps its connection': 0, 'connects for each push': 0 };
  readonly failures: string[] = [];
  /** Duration of the slowest push, milliseconds. */
  slowest = 0;
  readonly #host: string;
  readonly #key: string;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>[] = [];

  constructor(host: string, key: string) {
    this.#host = host;
    this.#key = key;
  }

  /** Starts `count` more backends. Each waits `every` milliseconds after a push. */
  come(habit: Habit, count: number, every: number): void {
    for (let i = 0; i < count; i++) this.#running.push(this.#pushOn(habit, every));
  }

  /** Stops the backends after their current pushes were answered. */
  async end(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#running);
  }

  async #pushOn(habit: Habit, every: number): Promise<void> {
    const { signal } = this.#stop;
    const agent = habit === 'keeps its connection' && new Agent({ keepAlive: true, maxSockets: 1 });
    while (!signal.aborted) {
      const began = performance.now();
      const said = await this.#push(agent).catch((error: Error) => error.message);
      this.slowest = Math.max(this.slowest, performance.now() - began);
      if (said === '202') this.accepted[habit]++;
      else this.failures.push(`one that ${habit}: ${said}`);
      await setTimeout(every, undefined, { signal }).catch(() => {});
    }
    if (agent) agent.destroy();
  }

  /** The answer as text: the status and, if it is not 202, the body. */
  async #push(agent: Agent | false): Promise<string> {
    const headers = { authorization: `Bearer ${this.#key}`, 'content-type': 'application/json' };
    const asked = request({
      ...{ host: this.#host, port: 7_799, path: '/v1/push', method: 'POST', headers, agent },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    asked.end('{"to":{"room":"empty"},"items":[1]}');
    const [answer] = await once(asked, 'response');
    let text = '';
    for await (const part of answer.setEncoding('utf8')) text += part;
    return answer.statusCode === 202 ? '202' : `${answer.statusCode} ${text}`;
  }
}
