import { setTimeout as after } from 'node:timers';
import { z } from 'zod';
import type { Book } from './record.ts';
import { publishersOf, Sessions } from './sessions.ts';

/** Milliseconds between two PINGs, and without a frame until a client takes its gateway for gone. */
const [PING_MS, SILENT_MS] = [1_000, 7_000];
/** Milliseconds until it connects again. */
const AGAIN_MS = 200;

const Position = z.object({ epoch: z.string(), seq: z.number() });
type Position = z.infer<typeof Position>;
const Room = z.looseObject({ room: z.string() });
const Frame = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('OK'),
    data: Room.extend({
      ...Position.partial().shape,
      recovered: z.boolean().optional(),
      replayTo: z.number().optional(),
    }),
  }),
  z.object({ type: z.literal('ERROR'), data: z.looseObject({ code: z.string() }) }),
  z.object({
    type: z.literal('PUSH'),
    data: Room.extend({
      ...Position.partial().shape,
      prev: z.number().optional(),
      items: z.array(z.string()),
      ids: z.array(z.tuple([z.string(), z.number(), z.number()], z.unknown())).optional(),
    }),
  }),
  z.object({ type: z.literal('LAGGED'), data: Room.extend({ dropped: z.number() }) }),
  z.object({ type: z.literal('RESET'), data: Room.extend(Position.shape) }),
  z.object({ type: z.enum(['PONG', 'RECONNECT', 'LEAVE']) }),
]);
type Frame = z.infer<typeof Frame>;
type Data<Type extends Frame['type']> = Extract<Frame, { type: Type; data: unknown }>['data'];

/** Whether the client speaks v1, or knows nothing of this project, and whether its room has a history. */
export type WireClientOptions = { form: 'v1' | 'go-push'; hasHistory: boolean };

/**
 * A client without the SDK, which connects to any gateway that answers. With v1 it goes on in a room with history where it
 * was, as docs/reference/protocol.md tells clients to do. In other cases each of its connections stands for itself.
 */
export class WireClient {
  last: string | undefined;
  readonly #name: string;
  readonly #room: string;
  readonly #options: WireClientOptions;
  readonly #gateway: () => string;
  readonly #book: Book;
  readonly #sessions: Sessions;
  readonly #joined = Promise.withResolvers<void>();
  #socket: WebSocket | undefined;
  #position: Position | undefined;
  /** What is missing may follow up to this number, and then the room is at a place of its own. */
  #missing: { until: number; place: Position } | undefined;
  /** When the room lacked nothing, by `performance.now()`. */
  #currentAt = 0;
  #wasJoined = false;
  #isAsking = false;
  /** What the last JOIN said. */
  #asked: Position | undefined;
  #closed = false;

  /** @param gateway host and port of the next gateway to connect to */
  constructor(name: string, room: string, options: WireClientOptions, gateway: () => string, book: Book) {
    this.#name = name;
    this.#room = room;
    this.#options = options;
    this.#gateway = gateway;
    this.#book = book;
    this.#sessions = new Sessions(name, room, options.form, book);
    this.#connect();
  }

  /** Resolves when it is in the room for the first time. */
  get joined(): Promise<void> {
    return this.#joined.promise;
  }

  close(): void {
    this.#closed = true;
    this.#socket?.close();
  }

  get #resumes(): boolean {
    return this.#options.form === 'v1' && this.#options.hasHistory;
  }

  #connect() {
    if (this.#closed) return;
    const address = this.#gateway();
    const socket = new WebSocket(`ws://${address}/connect`, this.#options.form === 'v1' ? ['pushcluster.v1'] : []);
    this.#socket = socket;
    let heardAt = performance.now();
    const ping = setInterval(() => {
      if (performance.now() - heardAt > SILENT_MS) end();
      else if (socket.readyState === WebSocket.OPEN) socket.send('{"type":"PING","data":{}}');
    }, PING_MS);
    const end = () => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      clearInterval(ping);
      socket.close();
      if (!this.#closed) this.#sessions.end();
      after(() => this.#connect(), AGAIN_MS);
    };
    socket.onopen = () => this.#join();
    socket.onmessage = ({ data }) => {
      if (this.#socket !== socket) return;
      heardAt = performance.now();
      this.#receive(Frame.parse(JSON.parse(String(data))), address);
    };
    socket.onclose = end;
    socket.onerror = end;
  }

  #join() {
    const away = Math.round(performance.now() - this.#currentAt);
    const since = this.#position && { since: this.#position, away };
    this.#isAsking = true;
    this.#asked = this.#position;
    this.#socket?.send(JSON.stringify({ type: 'JOIN', id: 1, data: { room: this.#room, ...since } }));
  }

  #receive(frame: Frame, address: string) {
    switch (frame.type) {
      case 'OK':
        return this.#answered(frame.data, address);
      case 'ERROR':
        return after(() => this.#join(), AGAIN_MS);
      case 'PUSH':
        return this.#resumes ? this.#follow(frame.data) : this.#take(frame.data);
      case 'RESET':
        return this.#restart(frame.data, 'reset');
      case 'LAGGED':
        if (this.#resumes) this.#book.add({ type: 'told', ...this.#who, what: 'lagged', items: frame.data.dropped });
        else this.#sessions.told('lagged', frame.data.dropped);
        return;
      default:
        return;
    }
  }

  get #who() {
    return { client: this.#name, room: this.#room };
  }

  #answered({ epoch, seq, recovered, replayTo }: Data<'OK'>, address: string) {
    this.#isAsking = false;
    this.#joined.resolve();
    if (!this.#resumes) return this.#sessions.begin(address);
    if (!this.#wasJoined) this.#book.add({ type: 'joined', ...this.#who, form: 'v1' });
    this.#wasJoined = true;
    if (epoch === undefined || seq === undefined) throw new Error('a room with history without a position');
    const place = { epoch, seq };
    if (recovered) this.#missing = { until: replayTo ?? seq, place };
    // A RESET came after the JOIN was sent: it would be told again.
    else if (this.#asked !== this.#position) return this.#join();
    else this.#restart(place, 'unrecovered');
    this.#catchUp();
  }

  #follow(data: Data<'PUSH'>) {
    const { epoch, seq, prev } = data;
    // What comes before the answer is asked for by the JOIN.
    if (this.#isAsking || epoch === undefined || seq === undefined || prev === undefined) return;
    if (this.#position?.epoch !== epoch) this.#restart({ epoch, seq: prev }, 'reset');
    const from = this.#position!.seq;
    if (seq <= from) return;
    const missing = this.#missing;
    if (prev !== from && !(missing && prev < from && seq <= missing.until)) return this.#join();
    this.#position = { epoch, seq };
    this.#take(data);
    this.#catchUp();
  }

  /** With all that was missed it is where the gateway was. */
  #catchUp() {
    const missing = this.#missing;
    if (missing && missing.until > this.#position!.seq) return;
    if (missing?.until === this.#position!.seq) this.#position = missing.place;
    this.#missing = undefined;
    this.#currentAt = performance.now();
  }

  #restart({ epoch, seq }: Position, reason: string) {
    if (this.#position) this.#book.add({ type: 'reset', ...this.#who, reason, epoch, seq });
    this.#position = { epoch, seq };
    this.#missing = undefined;
    this.#currentAt = performance.now();
  }

  #take({ items, ids }: Data<'PUSH'>) {
    const publishers = publishersOf(items, ids);
    for (const item of items) {
      this.last = item;
      if (this.#resumes) this.#book.add({ type: 'item', ...this.#who, item });
      else this.#sessions.item(item, publishers.get(item));
    }
  }
}
