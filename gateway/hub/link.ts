import { type ChildProcess, spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { LagReason } from '@pushcluster/protocol/frames.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { BEAT_MS, onBeat } from '@pushcluster/runtime/beat.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import type { ChannelKey } from '../channelKey.ts';
import type { ShardCounts } from '../shard/counts.ts';
import { encodeFrameHead, type HubMessage, type ShardMessage, Wire } from '../wire.ts';
import type { Frame } from './frame.ts';

const SHARD_MAIN = fileURLToPath(new URL('../shard/main.ts', import.meta.url));
/** Bytes of a request's headers that the engine takes: its own 4 KiB is less than a browser's cookies and a token may be. */
const MAX_HEADERS = 16_384;
/** Handshakes leave garbage behind; with the engine's 16 MiB semi-spaces it would stay for as long as the shard is idle. */
const SMALL_YOUNG_GENERATION = ['--max-semi-space-size=4'];
/** The engine's at each handshake that waited for its token's check: it is not obeyed (shard/listen.ts), and not repeated. */
const ENGINE_WARNING = 'Warning: uWS.HttpResponse writes must be made from within a corked callback.';
/** A shard that dies is replaced after this long, doubled at each early death up to the longest, milliseconds. */
const RESPAWN_MS = 50;
const RESPAWN_LONGEST_MS = 5_000;
/** A shard that does not listen yet is given this long, milliseconds: a new process on a busy machine takes its time. */
const START_MS = 20_000;
/** A shard that lived this long was well. */
const WELL_MS = 30_000;

export type LinkHooks = {
  /** What the shard says, but for what the link itself is about. */
  message(link: ShardLink, message: ShardMessage): void;
  /** New counts, and those before them (undefined from a new process). */
  counted(counts: ShardCounts, before: ShardCounts | undefined): void;
  /** The process is gone: its connections are closed. A new one is on its way, unless the link was told to end. */
  died(link: ShardLink, how: string): void;
  /** Frames on their way to the shard are over the limit: `items` of the channel will not come. */
  overrun(items: number): void;
};

/**
 * The hub's end of one shard: its process, the frames on their way to it, and the watch over it. A process that dies is
 * replaced; one that is silent for hangTimeout is killed and replaced.
 */
export class ShardLink {
  readonly index: number;
  /** Forms that have a listener there, by channel. */
  readonly masks = new Map<ChannelKey, number>();
  counts: ShardCounts | undefined;
  /** It accepts connections. */
  listening = false;
  restarts = 0;
  readonly #log: Logger;
  readonly #hooks: LinkHooks;
  readonly #shards: number;
  #settings: Settings;
  #process: ChildProcess | undefined;
  #wire: Wire<HubMessage, ShardMessage> | undefined;
  #heard = 0;
  #startedAt = 0;
  #respawnMs = RESPAWN_MS;
  #inFlight = 0;
  #missed = new Map<ChannelKey, number>();
  #ending = false;
  readonly #stopWatching: () => void;
  #firstListen: { resolve: () => void; reject: (error: Error) => void } | undefined;

  constructor(index: number, shards: number, settings: Settings, log: Logger, hooks: LinkHooks) {
    this.index = index;
    this.#shards = shards;
    this.#settings = settings;
    this.#log = log;
    this.#hooks = hooks;
    this.#stopWatching = this.#watchOver();
  }

  /** Resolves when the shard listens. Rejects with what it says where it can't. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#firstListen = { resolve, reject };
      this.#spawn();
    });
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Bytes of frames on their way. */
  get inFlight(): number {
    return this.#inFlight;
  }

  configure(settings: Settings): void {
    this.#settings = settings;
    this.send({ type: 'settings', shard: this.index, settings, shards: this.#shards });
  }

  send(message: HubMessage): void {
    this.#wire?.send(message);
  }

  /** Sends a batch on, or counts it as missed where too much is on its way already. */
  sendFrames(key: ChannelKey, items: number, ages: readonly [number, number][], frames: readonly Frame[]): void {
    if (!this.#wire) return;
    const owed = this.#missed.get(key);
    if (owed !== undefined || this.#inFlight > this.#settings.gateway.shardWatch.maxInFlight) {
      this.#missed.set(key, (owed ?? 0) + items);
      this.#hooks.overrun(items);
      return;
    }
    this.#inFlight += this.#wire.sendFrame(encodeFrameHead(key, items, ages, frames), frames);
  }

  /** Items that will not come, in order with the frames. */
  sendMissed(key: ChannelKey, items: number, reason: LagReason): void {
    const owed = this.#missed.get(key);
    if (owed === undefined) this.send({ type: 'missed', key, items, reason });
    else this.#missed.set(key, owed + items);
  }

  /** Ends the shard: its connections get 1012 first. Resolves when the process is gone. */
  end(): Promise<void> {
    this.#ending = true;
    this.#stopWatching();
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    this.send({ type: 'exit' });
    const late = setTimeout(() => child.kill('SIGKILL'), 2_000);
    return gone.finally(() => clearTimeout(late));
  }

  #spawn() {
    const child = spawn(process.execPath, [...process.execArgv, ...SMALL_YOUNG_GENERATION, SHARD_MAIN], {
      stdio: ['ignore', 'inherit', 'pipe', 'pipe'],
      env: { ...process.env, UWS_HTTP_MAX_HEADERS_SIZE: String(MAX_HEADERS) },
    });
    const socket = child.stdio[3];
    if (!(socket instanceof Socket)) throw new Error('the shard has no socket to the hub');
    if (child.stderr)
      createInterface({ input: child.stderr }).on('line', (line) => {
        if (!line.startsWith(ENGINE_WARNING)) process.stderr.write(`${line}\n`);
      });
    this.#process = child;
    this.#startedAt = performance.now();
    this.#heard = performance.now();
    this.#inFlight = 0;
    this.#missed.clear();
    socket.on('error', () => {});
    this.#wire = new Wire<HubMessage, ShardMessage>(
      socket,
      (message) => {
        if (child === this.#process) this.#receive(message);
      },
      () => {},
    );
    this.configure(this.#settings);
    child.once('error', (error) => this.#gone(child, error.message));
    // Not `exit`: what the shard said last may still be in the socket then.
    child.once('close', (code, signal) => this.#gone(child, signal ?? `exit code ${code}`));
  }

  #receive(message: ShardMessage) {
    this.#heard = performance.now();
    switch (message.type) {
      case 'listening':
        this.listening = true;
        this.#firstListen?.resolve();
        this.#firstListen = undefined;
        this.#hooks.message(this, message);
        return;
      case 'failed':
        this.#firstListen?.reject(new Error(message.message));
        this.#firstListen = undefined;
        return;
      case 'done':
        this.#done(message.bytes);
        return;
      case 'counts': {
        const before = this.counts;
        this.counts = message.counts;
        this.#hooks.counted(message.counts, before);
        return;
      }
      default:
        this.#hooks.message(this, message);
    }
  }

  #done(bytes: number) {
    this.#inFlight -= bytes;
    if (this.#missed.size === 0 || this.#inFlight > this.#settings.gateway.shardWatch.maxInFlight / 2) return;
    const missed = [...this.#missed];
    this.#missed.clear();
    for (const [key, items] of missed) this.send({ type: 'missed', key, items, reason: 'overload' });
  }

  #gone(child: ChildProcess, how: string) {
    if (child !== this.#process) return;
    this.#process = undefined;
    this.#wire = undefined;
    this.listening = false;
    this.counts = undefined;
    if (this.#ending) return;
    this.#firstListen?.reject(new Error(`the shard ended at its start: ${how}`));
    if (this.#firstListen) {
      this.#firstListen = undefined;
      return;
    }
    this.#log.error({ shard: this.index, how }, 'shard died: its connections are lost, a new one starts');
    this.#hooks.died(this, how);
    this.restarts++;
    if (performance.now() - this.#startedAt > WELL_MS) this.#respawnMs = RESPAWN_MS;
    setTimeout(() => {
      if (!this.#ending) this.#spawn();
    }, this.#respawnMs);
    this.#respawnMs = Math.min(RESPAWN_LONGEST_MS, this.#respawnMs * 2);
  }

  #watchOver(): () => void {
    let looked = performance.now();
    return onBeat(() => {
      const now = performance.now();
      // Where this process itself stood still, the shard's words are still waiting to be read.
      if (now - looked > 2 * BEAT_MS) this.#heard = now;
      looked = now;
      const silent = now - this.#heard;
      const { hangTimeout } = this.#settings.gateway.shardWatch;
      if (!this.#process || silent <= (this.listening ? hangTimeout : Math.max(hangTimeout, START_MS))) return;
      this.#log.error({ shard: this.index, silentMs: Math.round(silent) }, 'shard hangs: killing it');
      this.#process.kill('SIGKILL');
    });
  }
}
