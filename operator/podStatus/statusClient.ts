import { Agent, get } from 'node:http';
import { parseJson } from '@pushcluster/protocol/parseJson.ts';
import { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';

/** From the question to the end of the answer, milliseconds. */
const TIMEOUT_MS = 2_000;
/** Many times what a status takes: who sends more is no pod of ours. */
const MAX_BYTES = 16_384;

/** Asks pods for their status, over a connection to each that is kept between questions. */
export class StatusClient {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1, maxFreeSockets: 1 });
  readonly #port: number;
  readonly #clock: Clock;

  constructor(port: number, clock: Clock = systemClock) {
    this.#port = port;
    this.#clock = clock;
  }

  /**
   * Resolves with what a pod says.
   * @param address an IP address
   * @throws Error with a sentence: no answer in 2 s, one of more than 16 KiB, or one that is no status
   */
  async ask(address: string): Promise<PodStatus> {
    const text = await this.#fetch(address);
    const found = PodStatus.safeParse(parseJson(text));
    if (found.success) return found.data;
    const [issue] = found.error.issues;
    throw new Error(`its answer is no status: ${issue?.path.join('.') || 'it'}: ${issue?.message}`);
  }

  close(): void {
    this.#agent.destroy();
  }

  #fetch(host: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const late = new AbortController();
      const { signal } = late;
      const callOff = this.#clock.after(TIMEOUT_MS, () => late.abort());
      const fail = (error: Error) => {
        callOff();
        reject(signal.aborted ? new Error(`it gave no answer within ${TIMEOUT_MS / 1_000} s`) : error);
      };
      const request = get({ agent: this.#agent, host, port: this.#port, path: '/status', signal }, (response) => {
        const parts: Buffer[] = [];
        let size = 0;
        response.on('data', (part: Buffer) => {
          size += part.length;
          parts.push(part);
          if (size > MAX_BYTES) request.destroy(new Error(`its answer is longer than ${MAX_BYTES} bytes`));
        });
        response.once('error', fail);
        response.once('end', () => {
          callOff();
          if (response.statusCode === 200) resolve(Buffer.concat(parts).toString());
          else reject(new Error(`it answered GET /status with ${response.statusCode}`));
        });
      });
      request.once('error', fail);
    });
  }
}
