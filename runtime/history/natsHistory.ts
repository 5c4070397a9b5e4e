import { randomBytes } from 'node:crypto';
import { parseJson } from '@pushcluster/protocol/parseJson.ts';
import { z } from 'zod';
import { BusUnavailable, BusUnconfirmed } from '../bus/bus.ts';
import type { BusRequests, Reply } from '../bus/busRequests.ts';
import { zodSentence } from '../zodSentence.ts';
import {
  type Extract,
  type Heads,
  HistoryMissing,
  HistoryRefused,
  type HistoryRules,
  type MeasuredHistoryStore,
  STORED_HEADERS,
  type StoredAt,
  type StoredPush,
  type StreamState,
  type StreamUsage,
} from './historyStore.ts';
import {
  changedConfig,
  type HistoryStream,
  hasRoomsBack,
  historyStream,
  isLed,
  isOurs,
  renewedConfig,
  retiredConfig,
  roomIn,
  StreamInfo,
  stateOf,
  streamConfig,
  subjectIn,
  usageOf,
} from './historyStream.ts';

/** Milliseconds for the acknowledgement of one push. A crashed leader is replaced after 4 to 8 s: the caller tries again. */
const APPEND_TIMEOUT_MS = 2_000;
/** Milliseconds for a change of a stream, or a push from its leader. */
const API_TIMEOUT_MS = 5_000;
/** Milliseconds for a batch of pushes, or the state of a stream: a server that has just left does not answer. */
const READ_TIMEOUT_MS = 1_500;
/** Bytes of a batch at most: a larger one would delay publishes at that server (it holds a lock meanwhile). */
const BATCH_BYTES = 262_144;

/** Milliseconds for which a former leader may be believed: replicas that it has not heard of for so long are not (isLed). */
const FORMER_MS = 4_000;

/** Status codes of direct get. */
const END_OF_BATCH = 204;
const NOT_FOUND = 404;
/** Code of the JetStream API for a message whose id is that of one that is being stored. */
const CONFLICT = 409;

/** Error codes of the JetStream API (nats-server, server/errors.json). */
const NO_MESSAGE_FOUND = 10037;
const NAME_IN_USE = 10058;
const STREAM_NOT_FOUND = 10059;

const ApiError = z.object({ code: z.number(), err_code: z.number(), description: z.string() });
type ApiError = z.infer<typeof ApiError>;
const Refused = z.object({ error: ApiError });
const Acknowledgement = z.object({ seq: z.number(), duplicate: z.boolean().optional() });
const Message = z.object({
  message: z.object({ seq: z.number(), time: z.string(), data: z.string().default('') }),
});

/** Histories in JetStream. docs/how-to/rooms-with-history.md says what is stored and repaired. */
export class NatsHistory implements MeasuredHistoryStore {
  readonly formerMs = FORMER_MS;
  readonly #requests: BusRequests;
  readonly #prefix: string;
  readonly #streams = new Map<string, HistoryStream>();

  /** @param prefix that of the bus */
  constructor(requests: BusRequests, prefix: string) {
    this.#requests = requests;
    this.#prefix = prefix;
  }

  async ensure(rules: HistoryRules): Promise<void> {
    const stream = this.#stream(rules.match);
    // Two updates at most bring it there; others may change it meanwhile.
    for (let attempt = 0; attempt < 5; attempt++) {
      const info = await this.#info(stream).catch((error: unknown) => {
        if (error instanceof HistoryMissing) return undefined;
        throw error;
      });
      if (info === undefined) {
        const nonce = randomBytes(9).toString('base64url');
        const made = await this.#api(`STREAM.CREATE.${stream.name}`, streamConfig(stream, rules, nonce));
        if ('error' in made && made.error.err_code !== NAME_IN_USE) throw refusal(made.error);
        continue;
      }
      const config = changedConfig(info, rules);
      if (config === undefined) return;
      await this.#update(stream, config);
    }
    throw new BusUnconfirmed(`the stream ${stream.name} is being changed by others`);
  }

  async retire(match: string): Promise<void> {
    const stream = this.#stream(match);
    const config = retiredConfig(await this.#info(stream));
    if (config) await this.#update(stream, config);
  }

  async renew(match: string, epoch: string, known: string): Promise<void> {
    const stream = this.#stream(match);
    const info = await this.#info(stream);
    if (stateOf(info, stream).epoch === epoch) await this.#update(stream, renewedConfig(info, known));
  }

  async append(match: string, room: string, bytes: Uint8Array, id: string): Promise<StoredAt> {
    const stream = this.#stream(match);
    const headers = { 'Nats-Msg-Id': id, 'Nats-Expected-Stream': stream.name };
    const [reply] = await this.#requests.request(subjectIn(stream, room), bytes, {
      headers,
      timeout: APPEND_TIMEOUT_MS,
    });
    const json = jsonOf(reply!);
    const error = errorIn(json);
    // An error is definite: nothing was stored.
    if (error) throw refusal(error);
    const { seq, duplicate = false } = parsed(Acknowledgement, json, 'an acknowledgement');
    return { seq, duplicate };
  }

  async state(match: string, earlier?: readonly string[]): Promise<StreamState> {
    const stream = this.#stream(match);
    const info = await this.#info(stream);
    if (earlier && hasRoomsBack(info, { earlier }))
      throw new BusUnconfirmed(`${stream.name} lacks pushes of its rooms, and is yet to become another history`);
    if (!isLed(info)) throw new BusUnconfirmed(`the leader of ${stream.name} has lost touch with its replicas`);
    return stateOf(info, stream);
  }

  async usage(match: string): Promise<StreamUsage> {
    return usageOf(await this.#info(this.#stream(match)));
  }

  async read(match: string, room: string, from: number, limit: number, fresh = false): Promise<Extract> {
    const stream = this.#stream(match);
    const subject = subjectIn(stream, room);
    if (fresh) {
      const push = await this.#message(stream, { seq: Math.max(1, from), next_by_subj: subject });
      return push ? { pushes: [push], pending: undefined } : { pushes: [], pending: 0 };
    }
    const replies = await this.#direct(stream, {
      seq: Math.max(1, from),
      next_by_subj: subject,
      batch: limit,
      max_bytes: BATCH_BYTES,
    });
    const pushes: StoredPush[] = [];
    let previous = 0;
    for (const { bytes, headers } of replies.messages) {
      const seq = Number(headers?.get(STORED_HEADERS.seq));
      // In a batch, each message names the one before it: a hole means that one got lost on its way.
      const before = Number(headers?.get(STORED_HEADERS.previous));
      if (pushes.length > 0 && before !== previous) throw new BusUnconfirmed('a part of a batch was lost');
      pushes.push({ seq, at: timeIn(headers?.get('Nats-Time-Stamp') ?? ''), bytes });
      previous = seq;
    }
    const last = Number(replies.end?.headers?.get(STORED_HEADERS.previous) ?? previous);
    if (pushes.length > 0 && last !== previous) throw new BusUnconfirmed('the end of a batch was lost');
    return { pushes, pending: pendingOf(replies.end) };
  }

  async at(match: string, seq: number): Promise<Uint8Array | undefined> {
    return (await this.#message(this.#stream(match), { seq }))?.bytes;
  }

  async heads(match: string, rooms: readonly string[], after: number): Promise<Heads> {
    const stream = this.#stream(match);
    const multi_last = rooms.map((room) => subjectIn(stream, room));
    const seqs = new Map<string, number>();
    let upTo: number | undefined;
    // The answers carry the messages: as many as fit.
    for (let seq = after + 1, pending = 1; pending > 0; ) {
      const question = {
        multi_last,
        batch: rooms.length,
        seq,
        max_bytes: BATCH_BYTES,
        ...(upTo && { up_to_seq: upTo }),
      };
      const { messages, end } = await this.#direct(stream, question);
      for (const { headers } of messages) {
        seq = Number(headers?.get(STORED_HEADERS.seq)) + 1;
        seqs.set(roomIn(stream, headers?.get(STORED_HEADERS.subject) ?? ''), seq - 1);
      }
      upTo ??= upToOf(end);
      pending = messages.length === 0 ? 0 : pendingOf(end);
    }
    return { seqs, upTo };
  }

  streamOf(match: string): string {
    return this.#stream(match).name;
  }

  close(): void {
    this.#requests.close();
  }

  #stream(match: string): HistoryStream {
    let stream = this.#streams.get(match);
    if (!stream) {
      stream = historyStream(this.#prefix, match);
      this.#streams.set(match, stream);
    }
    return stream;
  }

  /** One push, from the leader; undefined if there is none. */
  async #message(stream: HistoryStream, question: object): Promise<StoredPush | undefined> {
    const json = await this.#api(`STREAM.MSG.GET.${stream.name}`, question);
    if ('error' in json) {
      if (json.error.err_code === NO_MESSAGE_FOUND) return undefined;
      throw refusal(json.error);
    }
    const { message } = parsed(Message, json, 'a message');
    return { seq: message.seq, at: Date.parse(message.time), bytes: Buffer.from(message.data, 'base64') };
  }

  async #direct(stream: HistoryStream, body: object): Promise<{ messages: Reply[]; end: Reply | undefined }> {
    const replies = await this.#requests.request(`$JS.API.DIRECT.GET.${stream.name}`, encoded(body), {
      timeout: READ_TIMEOUT_MS,
      isLast: ({ headers }) => (headers?.code ?? 0) !== 0,
    });
    const end = replies.at(-1);
    const code = end?.headers?.code;
    if (code === NOT_FOUND) return { messages: [], end: undefined };
    if (code !== END_OF_BATCH) throw new HistoryRefused(`${stream.name}: ${end?.headers?.description ?? 'no end'}`);
    return { messages: replies.slice(0, -1), end };
  }

  async #info(stream: HistoryStream): Promise<StreamInfo> {
    const json = await this.#api(`STREAM.INFO.${stream.name}`, undefined, READ_TIMEOUT_MS);
    if ('error' in json) throw refusal(json.error);
    const info = parsed(StreamInfo, json, 'the state of a stream');
    if (!isOurs(info, stream))
      throw new HistoryRefused(`the stream ${stream.name} exists and was not made for rooms "${stream.match}"`);
    return info;
  }

  async #update(stream: HistoryStream, config: object): Promise<void> {
    const json = await this.#api(`STREAM.UPDATE.${stream.name}`, config);
    if ('error' in json) throw refusal(json.error);
  }

  async #api(what: string, body: object | undefined, timeout = API_TIMEOUT_MS): Promise<object | { error: ApiError }> {
    const bytes = body === undefined ? new Uint8Array(0) : encoded(body);
    const [reply] = await this.#requests.request(`$JS.API.${what}`, bytes, { timeout });
    const json = jsonOf(reply!);
    const error = errorIn(json);
    return error ? { error } : json;
  }
}

/** Messages after the last one of a batch. */
function pendingOf(end: Reply | undefined): number {
  return Number(end?.headers?.get('Nats-Num-Pending') ?? 0);
}

/** How far the server is that answered with a batch. */
function upToOf(end: Reply | undefined): number | undefined {
  const upTo = end?.headers?.get('Nats-UpTo-Sequence');
  return upTo ? Number(upTo) : undefined;
}

function encoded(body: object): Uint8Array {
  return Buffer.from(JSON.stringify(body));
}

function jsonOf({ bytes }: Reply): object {
  const json = parseJson(Buffer.from(bytes).toString());
  if (typeof json !== 'object' || json === null) throw new BusUnconfirmed('JetStream did not answer with JSON');
  return json;
}

function errorIn(json: object): ApiError | undefined {
  return 'error' in json ? Refused.safeParse(json).data?.error : undefined;
}

function refusal({ code, err_code, description }: ApiError): Error {
  if (err_code === STREAM_NOT_FOUND) return new HistoryMissing(description);
  // The first attempt to store it is still under way in the cluster.
  if (code === CONFLICT) return new BusUnconfirmed(`JetStream: ${description}`);
  // The server cannot do it now: no leader, too many requests, no space.
  if (code === 503 || code === 429) return new BusUnavailable(`JetStream: ${description}`);
  return new HistoryRefused(`JetStream: ${description}`);
}

function parsed<T>(schema: z.ZodType<T>, json: object, what: string): T {
  const result = schema.safeParse(json, { reportInput: true });
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `${issue.path.join('.')} ${zodSentence(issue)}`);
  throw new BusUnconfirmed(`JetStream returned ${what} in an unknown form: ${problems.join('; ')}`);
}

/** Milliseconds since 1970 of nanoseconds or of an RFC 3339 time. */
function timeIn(text: string): number {
  return /^\d+$/.test(text) ? Math.floor(Number(text) / 1e6) : Date.parse(text);
}
