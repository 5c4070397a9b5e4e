import { Agent, get } from 'node:http';
import { parseJson } from '@pushcluster/protocol/parseJson.ts';
import { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';
import { zodSentence } from '@pushcluster/runtime/zodSentence.ts';

/** Time for a request and its response, milliseconds. */
const TIMEOUT_MS = 2_000;
/** Many times the size of a status. A longer response does not come from a pod of a PushCluster. */
const MAX_BYTES = 16_384;

/** Requests GET /status from pods, with a keep-alive connection to each. */
export class StatusClient {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1, maxFreeSockets: 1 });
  readonly #port: number;
  readonly #clock: Clock;

  constructor(port: number, clock: Clock = systemClock) {
    this.#port = port;
    this.#clock = clock;
  }

  /**
   * @param address an IP address
   * @throws Error: no response within 2 s, more than 16 KiB, or not a valid status
   */
  async ask(address: string): Promise<PodStatus> {
    const text = await this.#fetch(address);
    const found = PodStatus.safeParse(parseJson(text), { reportInput: true });
    if (found.success) return found.data;
    const issue = found.error.issues[0]!;
    throw new Error(`the response is not a valid status: ${issue.path.join('.') || 'response'}: ${zodSentence(issue)}`);
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
        reject(signal.aborted ? new Error(`no response within ${TIMEOUT_MS / 1_000} s`) : error);
      };
      const request = get({ agent: this.#agent, host, port: this.#port, path: '/status', signal }, (response) => {
        const parts: Buffer[] = [];
        let size = 0;
        response.on('data', (part: Buffer) => {
          size += part.length;
          parts.push(part);
          if (size > MAX_BYTES) request.destroy(new Error(`the response exceeds ${MAX_BYTES} bytes`));
        });
        response.once('error', fail);
        response.once('end', () => {
          callOff();
          if (response.statusCode === 200) resolve(Buffer.concat(parts).toString());
          else reject(new Error(`GET /status returned status ${response.statusCode}`));
        });
      });
      request.once('error', fail);
    });
  }
}
