import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { listenProblem } from '@pushcluster/runtime/portProbe.ts';

const LOOPBACK = '127.0.0.1';
/** Between tries to listen where it failed, milliseconds. */
const RETRY_MS = 2_000;

/** Where the push API listens: without API keys on loopback only, whatever `host` says. */
export function hostToListenOn(host: string, hasKeys: boolean): string {
  return hasKeys || /^(localhost|::1|127\.\d+\.\d+\.\d+)$/.test(host) ? host : LOOPBACK;
}

/** Moves a server that listens to another host, on the same port. Who is connected stays: each request is admitted anew. */
export class Door {
  readonly #server: Server;
  readonly #port: number;
  readonly #log: Logger;
  #host: string;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;
  #problem: string | undefined;

  /** @param server listens on `host` */
  constructor(server: Server, host: string, log: Logger) {
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
    this.#host = host;
    this.#log = log;
    server.on('error', (error) => this.#failed(error));
    server.on('listening', () => {
      this.#problem = undefined;
      this.#log.info({ host: this.#host, port: this.#port }, 'push API listens elsewhere: keys came or went');
      // Another change may have come while it began to listen.
      if (this.#closed) this.#server.close();
    });
  }

  get port(): number {
    return this.#port;
  }

  /** Why it does not listen; undefined where it does. */
  get problem(): string | undefined {
    return this.#problem;
  }

  move(host: string): void {
    if (host === this.#host) return;
    this.#host = host;
    this.#listen();
  }

  /** Moves no more. The server is its owner's to close. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
  }

  #listen() {
    clearTimeout(this.#retry);
    if (this.#closed) return;
    this.#server.close();
    this.#server.listen({ host: this.#host, port: this.#port });
  }

  #failed(error: Error) {
    if (this.#server.listening) {
      // For want of a descriptor, say: the next ones may be.
      this.#log.error({ err: error }, 'a connection could not be accepted');
      return;
    }
    this.#problem = listenProblem(error, this.#host, this.#port, 'push API', 'set logic.host or logic.port');
    this.#log.error({ problem: this.#problem }, 'the push API does not listen');
    this.#retry = setTimeout(() => this.#listen(), RETRY_MS).unref();
  }
}
