import { setTimeout } from 'node:timers/promises';
import { PushClient } from '@pushcluster/client/pushClient.ts';
import { z } from 'zod';
import { redirectedSocket } from '../harness/redirectedSocket.ts';
import type { Book } from './record.ts';

/** Milliseconds between two pushes of a publisher. */
const PACE_MS = 20;
/** Milliseconds after which a publisher takes a request for lost, and tries again. */
const REQUEST_MS = 15_000;

const Accepted = z.object({ rooms: z.tuple([z.object({ epoch: z.string(), seq: z.number() })]).optional() });
const History = z.object({
  epoch: z.string(),
  pushes: z.array(z.object({ seq: z.number(), items: z.array(z.string()) })),
});

/** Where logic is now, as host and port, and the API key that it wants, if any. */
export type Backend = { address: () => string; key?: string };
type Answer =
  | { type: 'acked'; epoch: string; seq: number }
  | { type: 'accepted'; via: string }
  | { type: 'refused' | 'unknown' };

/** A backend: pushes items to a room one after another, each until it is accepted. */
export class Publisher {
  count = 0;
  readonly #room: string;
  readonly #logic: Backend;
  readonly #recorder: Book;
  #stopped = false;
  readonly #loop: Promise<void>;

  constructor(name: string, room: string, logic: Backend, recorder: Book) {
    this.#room = room;
    this.#logic = logic;
    this.#recorder = recorder;
    this.#loop = (async () => {
      while (!this.#stopped) {
        await this.#push(`${name}:${this.count++}`);
        await setTimeout(PACE_MS);
      }
    })();
  }

  async #push(item: string): Promise<void> {
    const room = this.#room;
    this.#recorder.add({ type: 'attempt', room, item });
    for (;;) {
      const answer = await this.#request(item);
      this.#recorder.add({ room, item, ...answer });
      if (answer.type === 'acked' || answer.type === 'accepted') return;
      await setTimeout(100);
    }
  }

  async #request(item: string): Promise<Answer> {
    const via = this.#logic.address();
    try {
      const response = await fetch(`http://${via}/v1/push`, {
        method: 'POST',
        headers: { ...authorization(this.#logic), 'content-type': 'application/json' },
        body: JSON.stringify({ to: { room: this.#room }, items: [item], id: item }),
        signal: AbortSignal.timeout(REQUEST_MS),
      });
      const body: unknown = await response.json();
      if (response.status === 202) {
        const { rooms } = Accepted.parse(body);
        return rooms ? { type: 'acked', ...rooms[0] } : { type: 'accepted', via };
      }
      const { code } = z.object({ code: z.string() }).parse(body);
      return { type: code === 'bus_unconfirmed' ? 'unknown' : 'refused' };
    } catch {
      return { type: 'unknown' };
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#loop;
  }
}

/** Options of an SDK that connects to any gateway that answers, and notices soon that one does not. */
export const IMPATIENT = { backoff: { base: 50, cap: 1_000 }, idleTimeout: 5_000, probeTimeout: 2_000 };

/** A page in a room with history, which connects to any gateway that answers. */
export class Page {
  last: string | undefined;
  /** Resolves when it is in the room. */
  readonly joined: Promise<void>;
  readonly push: PushClient;

  /** @param gateway host and port of the next gateway to connect to */
  constructor(name: string, room: string, gateway: () => string, recorder: Book) {
    this.push = new PushClient('ws://balancer/connect', { ...IMPATIENT, WebSocket: redirectedSocket(gateway) });
    const joined = this.push.join(room);
    this.joined = joined.joined.then(() => recorder.add({ type: 'joined', client: name, room }));
    joined.on('item', (item) => {
      this.last = item as string;
      recorder.add({ type: 'item', client: name, room, item: item as string });
    });
    joined.on('reset', ({ reason }) => {
      const { epoch, seq } = joined.position ?? { epoch: '', seq: 0 };
      recorder.add({ type: 'reset', client: name, room, reason, epoch, seq });
    });
    joined.on('lagged', ({ dropped: items }) =>
      recorder.add({ type: 'told', client: name, room, what: 'lagged', items }),
    );
    joined.on('gap', ({ missed: items }) => recorder.add({ type: 'told', client: name, room, what: 'gap', items }));
  }

  close(): void {
    this.push.close();
  }
}

/** What the history has of a room, page by page. */
export async function readHistory(room: string, logic: Backend, recorder: Book): Promise<number> {
  let read = 0;
  for (let before: number | undefined; ; ) {
    const query = `limit=1000${before === undefined ? '' : `&before=${before}`}`;
    const url = `http://${logic.address()}/v1/rooms/${room}/history?${query}`;
    const response = await fetch(url, { headers: authorization(logic) });
    if (response.status !== 200) throw new Error(`the history of ${room}: ${response.status} ${await response.text()}`);
    const { epoch, pushes } = History.parse(await response.json());
    for (const { seq, items } of pushes) recorder.add({ type: 'stored', room, epoch, seq, items });
    read += pushes.length;
    if (pushes.length === 0) return read;
    before = pushes[0]!.seq;
  }
}

function authorization({ key }: Backend): { authorization?: string } {
  return key === undefined ? {} : { authorization: `Bearer ${key}` };
}
