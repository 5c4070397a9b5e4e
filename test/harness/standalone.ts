import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { freePorts } from './ports.ts';
import { until } from './until.ts';

const ROOT = new URL('../../', import.meta.url).pathname;

/**
 * The process that `make run` starts: gateway and logic in one process, on free ports. Stop it at the end of the test.
 */
export class Standalone {
  readonly page: string;
  readonly socket: string;
  readonly pushApi: string;
  readonly admin: string;
  readonly #child;
  #output = '';

  constructor([port, pushPort, adminPort]: readonly number[], env: Record<string, string> = {}) {
    this.page = `http://127.0.0.1:${port}`;
    this.socket = `ws://127.0.0.1:${port}`;
    this.pushApi = `http://127.0.0.1:${pushPort}`;
    this.admin = `http://127.0.0.1:${adminPort}`;
    this.#child = spawn(process.execPath, ['standalone/main.ts'], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env, PORT: String(port), PUSH_PORT: String(pushPort), ADMIN_PORT: String(adminPort) },
    });
    const kill = () => this.#child.kill('SIGKILL');
    process.on('exit', kill);
    this.#child.on('exit', () => process.off('exit', kill));
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
      });
  }

  /** Waits until the process logs that it is ready. */
  async ready(): Promise<this> {
    await until('PushCluster is up', () => {
      if (this.#child.exitCode !== null) throw new Error(`it ended at its start; it printed:\n${this.#output}`);
      return this.#output.includes('PushCluster is up.');
    });
    return this;
  }

  /** Pushes through the v1 API; returns the HTTP status. */
  async push(to: object, items: readonly unknown[]): Promise<number> {
    const { status } = await fetch(`${this.pushApi}/v1/push`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ to, items }),
    });
    return status;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    await exit;
  }
}

/**
 * Starts the standalone process.
 * @param ports of gateway, push API and admin server; free ports by default
 * @param env merged over the environment of the test's process
 */
export async function startStandalone(ports?: readonly number[], env?: Record<string, string>): Promise<Standalone> {
  return new Standalone(ports ?? (await freePorts(3)), env).ready();
}
