import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { listenAddress } from '@pushcluster/runtime/listenAddress.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { listenProblem } from '@pushcluster/runtime/portProbe.ts';

const LOOPBACK = '127.0.0.1';
/** Between attempts to listen after a failure, milliseconds. */
const RETRY_MS = 2_000;

/** The host that the push API listens on: loopback if there are no API keys, whatever `host` is; else `host`. */
export function listenHost(host: string, hasKeys: boolean): string {
  return hasKeys || /^(localhost|::1|127\.\d+\.\d+\.\d+)$/.test(host) ? host : LOOPBACK;
}

/**
 * Makes a listening server listen on another host and the same port when the settings change. Its connections stay open:
 * each request is admitted on its own.
 */
export class ApiListener {
  readonly #server: Server;
  readonly #port: number;
  readonly #log: Logger;
  #host: string;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;
  #problem: string | undefined;

  /** @param server is listening on `host` */
  constructor(server: Server, host: string, log: Logger) {
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
    this.#host = host;
    this.#log = log;
    server.on('error', (error) => this.#failed(error));
    server.on('listening', () => {
      this.#problem = undefined;
      this.#log.info({ host: this.#host, port: this.#port }, 'push API listens on another host: the settings changed');
      // It may have been closed while it began to listen.
      if (this.#closed) this.#server.close();
    });
  }

  get port(): number {
    return this.#port;
  }

  /** Why it does not listen, as a sentence; undefined while it does. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Listens on `host` from now on. If that fails, it tries again, and `problem` says why. */
  move(host: string): void {
    if (host === this.#host) return;
    this.#host = host;
    this.#listen();
  }

  /** Stops changing the host. The owner of the server closes the server. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
  }

  #listen() {
    clearTimeout(this.#retry);
    if (this.#closed) return;
    this.#server.close();
    this.#server.listen({ host: listenAddress(this.#host), port: this.#port });
  }

  #failed(error: Error) {
    if (this.#server.listening) {
      // One connection failed, such as for lack of file descriptors. The server still listens.
      this.#log.error({ err: error }, 'a connection could not be accepted');
      return;
    }
    this.#problem = listenProblem(error, this.#host, this.#port, 'push API', 'set logic.host or logic.port');
    this.#log.error({ problem: this.#problem }, 'push API does not listen');
    this.#retry = setTimeout(() => this.#listen(), RETRY_MS).unref();
  }
}
