import { get } from 'node:http';
import { connect } from 'node:net';

/**
 * How a load balancer checks a node: every `interval` milliseconds. `threshold` failures in a row make it unhealthy, one
 * success makes it healthy.
 */
export type HealthCheck = { interval: number; threshold: number };

/** What a load balancer knows of a node. The first check decides; after that, failures have to add up. */
export class NodeHealth {
  isHealthy = false;
  #isKnown = false;
  #failures = 0;
  #nextAt = Number.NEGATIVE_INFINITY;

  /** Whether a check is due, which counts as begun then. @param now milliseconds */
  isDue(now: number, { interval }: HealthCheck): boolean {
    if (now < this.#nextAt) return false;
    const next = this.#nextAt + interval;
    // The phase stays the same, except after a pause of this process.
    this.#nextAt = next > now ? next : now + interval;
    return true;
  }

  checked(hasPassed: boolean, { threshold }: HealthCheck): void {
    this.#failures = hasPassed ? 0 : this.#failures + 1;
    if (hasPassed) this.isHealthy = true;
    else if (!this.#isKnown || this.#failures >= threshold) this.isHealthy = false;
    this.#isKnown = true;
  }
}

/** Whether `GET /healthz` is answered with 200. */
export function answersOk(host: string, port: number, timeout: number): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = get({ host, port, path: '/healthz', timeout }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    asked.once('timeout', () => asked.destroy()).once('error', () => resolve(false));
  });
}

/** Whether a TCP connection is accepted. */
export function accepts(host: string, port: number, timeout: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout });
    const end = (hasPassed: boolean) => {
      socket.destroy();
      resolve(hasPassed);
    };
    socket
      .once('connect', () => end(true))
      .once('timeout', () => end(false))
      .once('error', () => end(false));
  });
}
