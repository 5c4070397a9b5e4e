import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Logic, startLogic } from '@pushcluster/logic/logic.ts';
import { ProblemDocument } from '@pushcluster/protocol/api.ts';
import { decodePush, decodeUserPush, type Items, sliceItems } from '@pushcluster/protocol/push.ts';
import { roomOfToken, Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import { LocalBus } from '@pushcluster/runtime/bus/localBus.ts';
import { SettingsFile } from '@pushcluster/runtime/settingsFile.ts';
import { Registry } from 'prom-client';
import { logLines } from './logLines.ts';

export const SUBJECTS = new Subjects('pushcluster');

export type Reply = { status: number; headers: IncomingHttpHeaders; text: string; json: () => unknown };
export type RequestOptions = {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  /** Send the body in chunks, without a Content-Length. */
  chunked?: boolean;
};

/** A message that a subscriber received; `items` are JSON texts. */
export type Seen = { to: string; items: string[]; id: string; urgent: boolean; users?: string[] };

/** A logic server on a free port, with the requests that a test makes to it. */
export class Api {
  readonly port: number;
  readonly logic: Logic;
  readonly bus: Bus;
  readonly registry: Registry;
  readonly seen: Seen[] = [];
  readonly lines: ReturnType<typeof logLines>['lines'];
  readonly #folder: string;

  constructor(parts: { logic: Logic; bus: Bus; registry: Registry; folder: string; lines: Api['lines'] }) {
    this.logic = parts.logic;
    this.port = parts.logic.port;
    this.bus = parts.bus;
    this.registry = parts.registry;
    this.#folder = parts.folder;
    this.lines = parts.lines;
  }

  request(path: string, options: RequestOptions = {}): Promise<Reply> {
    const { method = options.body === undefined ? 'GET' : 'POST', headers = {}, body, chunked = false } = options;
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    const length = body === undefined || chunked ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    const request = httpRequest({
      host: '127.0.0.1',
      port: this.port,
      path,
      method,
      headers: { ...length, ...headers },
    });
    request.on('error', reject).on('response', async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk);
      const text = Buffer.concat(chunks).toString();
      resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: () => JSON.parse(text) });
    });
    if (chunked && body !== undefined) request.write(body);
    request.end(chunked ? undefined : body);
    return promise;
  }

  json(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Reply> {
    const text = typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body);
    return this.request(path, { body: text, headers: { 'content-type': 'application/json', ...headers } });
  }

  form(path: string, body: string | Uint8Array, headers: Record<string, string> = {}): Promise<Reply> {
    return this.request(path, { body, headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers } });
  }

  /** Replaces the settings file atomically. */
  configure(settings: object) {
    configure(this.#folder, settings);
  }

  metrics(): Promise<string> {
    return this.registry.metrics();
  }
}

function configure(folder: string, settings: object) {
  const whole = { logic: { host: '127.0.0.1', port: 0, drain: { settle: 0 } }, log: { level: 'info' } };
  const { logic = {}, ...others } = settings as { logic?: object };
  writeFileSync(join(folder, 'next'), JSON.stringify({ ...whole, ...others, logic: { ...whole.logic, ...logic } }));
  renameSync(join(folder, 'next'), join(folder, 'settings.json'));
}

/** Starts an API that stops at the end of the test. `settings` are merged over the defaults of the harness. */
export async function startApi(t: TestContext, settings: object = {}, bus: Bus = new LocalBus()): Promise<Api> {
  const folder = temporaryFolder(t);
  configure(folder, settings);
  const file = SettingsFile.open(join(folder, 'settings.json'), { pollInterval: 20 });
  const registry = new Registry();
  const { log, lines } = logLines();
  const logic = await startLogic({ settings: file, bus, log, registry });
  const api = new Api({ logic, bus, registry, folder, lines });
  t.after(async () => {
    await logic.leave();
    file.close();
    await bus.close();
  });
  return api;
}

/** Starts an API with a subscriber on its bus. */
export async function startHeardApi(t: TestContext, settings: object = {}): Promise<Api> {
  const bus = new LocalBus();
  const api = await startApi(t, settings, bus);
  listen(bus, api.seen);
  return api;
}

/**
 * Subscribes to all pushes on `bus` and appends them to `seen`. A message without items is no push: it announces,
 * seconds after the last push, how far a subject has been counted.
 */
export function listen(bus: Bus, seen: Seen[]) {
  const push = (to: (subject: string) => string) => (bytes: Uint8Array, subject: string) => {
    const { items, id, urgent } = decodePush(bytes);
    if (items.lengths.length === 0) return;
    seen.push({ to: to(subject), items: textsOf(items), id, urgent });
  };
  bus.subscribe(
    SUBJECTS.all,
    push(() => 'all'),
  );
  bus.subscribe(
    'pushcluster.out.room.*',
    push((subject) => `room ${roomOfToken(subject.split('.').at(-1)!)}`),
  );
  bus.subscribe(SUBJECTS.user, (bytes) => {
    for (const { users, items, id, urgent } of decodeUserPush(bytes).entries)
      seen.push({ to: 'users', users, items: textsOf(items), id, urgent });
  });
}

function textsOf(items: Items): string[] {
  return Array.from(items.lengths, (_, i) => Buffer.from(sliceItems(items, i, i + 1).bytes).toString());
}

export function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'pushcluster-api-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Asserts that `reply` is a problem document with this status and code; returns the problem. */
export function assertProblem(reply: Reply, status: number, code: string, detail?: RegExp) {
  const problem = ProblemDocument.parse(reply.json());
  assert.deepEqual([reply.status, problem.status, problem.code], [status, status, code], reply.text);
  assert.equal(reply.headers['content-type'], 'application/problem+json');
  if (detail) assert.match(problem.detail, detail);
  return problem;
}

/** A valid push. */
export const PUSH = { to: { room: 'r' }, items: [1] };
