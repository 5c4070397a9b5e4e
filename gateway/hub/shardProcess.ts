import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { LagReason } from '@pushcluster/protocol/frames.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { onTick, TICK_MS } from '@pushcluster/runtime/ticker.ts';
import type { ChannelKey } from '../ipc/channelKey.ts';
import type { ShardCounts } from '../ipc/counts.ts';
import type { Frame } from '../ipc/frame.ts';
import { encodeFrameHead } from '../ipc/frame.ts';
import { MessageStream } from '../ipc/messageStream.ts';
import { type HubMessage, missedSize, type ShardMessage } from '../ipc/messages.ts';
import type { Guard } from './guard.ts';
import type { ShardHandle } from './shardHandle.ts';

const SHARD_MAIN = fileURLToPath(new URL('../shard/main.ts', import.meta.url));
/** Bytes of a request's headers that the engine takes: its own 4 KiB is less than a browser's cookies and a token may be. */
const MAX_HEADERS = 16_384;
/** Handshakes leave garbage behind; with the engine's 16 MiB semi-spaces it would stay for as long as the shard is idle. */
const SMALL_YOUNG_GENERATION = ['--max-semi-space-size=4'];
/** The engine's at each handshake that waited for its token's check: it is not obeyed (shard/listen.ts), and not repeated. */
const ENGINE_WARNING = 'Warning: uWS.HttpResponse writes must be made from within a corked callback.';
/** A shard that dies, or that the system has no descriptors or memory for, is replaced after this long, doubled at each early death up to the longest, milliseconds. */
const RESPAWN_MS = 50;
const RESPAWN_LONGEST_MS = 5_000;
/** A shard that does not listen yet is given this long, milliseconds: a new process on a busy machine takes its time. */
const START_MS = 20_000;
/** A shard that lived this long was well. */
const WELL_MS = 30_000;

export type ShardProcessHooks = {
  /** What the shard says, but for what the link itself is about. */
  message(shard: ShardProcess, message: ShardMessage): void;
  /** New counts, and those before them (undefined from a new process). */
  counted(counts: ShardCounts, before: ShardCounts | undefined): void;
  /** The process is gone: its connections are closed. A new one is on its way, unless the link was told to end. */
  died(shard: ShardProcess, how: string): void;
  /** Frames on their way to the shard are over the limit: `items` of the channel will not come. */
  overrun(items: number): void;
};

export type ShardProcessOptions = {
  index: number;
  /** How many there are. */
  shards: number;
  settings: Settings;
  log: Logger;
  guard: Guard;
  hooks: ShardProcessHooks;
  /** Starts a process; node:child_process's own where absent. */
  spawn?: (command: string, args: string[], options: SpawnOptions) => ChildProcess;
};

/**
 * The hub's end of one shard: its process, the frames on their way to it, and the watch over it. A process that dies is
 * replaced; one that is silent for hangTimeout is killed and replaced.
 */
export class ShardProcess implements ShardHandle {
  readonly index: number;
  counts: ShardCounts | undefined;
  /** It accepts connections. */
  listening = false;
  restarts = 0;
  readonly #log: Logger;
  readonly #guard: Guard;
  readonly #hooks: ShardProcessHooks;
  readonly #spawnProcess: NonNullable<ShardProcessOptions['spawn']>;
  readonly #shards: number;
  #settings: Settings;
  #process: ChildProcess | undefined;
  #wire: MessageStream<HubMessage, ShardMessage> | undefined;
  #heard = 0;
  #startedAt = 0;
  #respawnMs = RESPAWN_MS;
  /** Why there is no process. */
  #notStarted: string | undefined;
  #inFlight = 0;
  #missed = new Map<ChannelKey, number>();
  #ending = false;
  readonly #stopWatching: () => void;
  #firstListen: { resolve: () => void; reject: (error: Error) => void } | undefined;

  constructor(options: ShardProcessOptions) {
    this.index = options.index;
    this.#shards = options.shards;
    this.#settings = options.settings;
    this.#log = options.log;
    this.#guard = options.guard;
    this.#hooks = options.hooks;
    this.#spawnProcess = options.spawn ?? spawn;
    this.#stopWatching = this.#watchOver();
  }

  /** Resolves when the shard listens. Rejects with what it says where it can't. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#firstListen = { resolve, reject };
      this.#spawn();
    });
  }

  /** Why it does not listen, a sentence; undefined where it does. */
  get problem(): string | undefined {
    if (this.listening) return undefined;
    const tried = this.#notStarted === undefined ? '' : `, and its process can't be started: ${this.#notStarted}`;
    return `shard ${this.index} does not listen${tried}`;
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
    if (!this.#wire) return;
    const owed = this.#missed.get(key);
    if (owed === undefined && this.#inFlight <= this.#settings.gateway.shardWatch.maxInFlight)
      this.#tellMissed(key, items, reason);
    else this.#missed.set(key, (owed ?? 0) + items);
  }

  #tellMissed(key: ChannelKey, items: number, reason: LagReason) {
    this.#inFlight += missedSize(key);
    this.send({ type: 'missed', key, items, reason });
  }

  /** Ends the shard: its connections get 1012 first. Resolves when the process is gone. */
  end(): Promise<void> {
    this.#ending = true;
    this.#stopWatching();
    const child = this.#process;
    if (!child || child.pid === undefined || child.exitCode !== null || child.signalCode !== null)
      return Promise.resolve();
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    this.send({ type: 'exit' });
    const late = setTimeout(() => child.kill('SIGKILL'), 2_000);
    return gone.finally(() => clearTimeout(late));
  }

  #spawn() {
    let child: ChildProcess;
    try {
      child = this.#spawnProcess(process.execPath, [...process.execArgv, ...SMALL_YOUNG_GENERATION, SHARD_MAIN], {
        stdio: ['ignore', 'inherit', 'pipe', 'pipe'],
        env: { ...process.env, UWS_HTTP_MAX_HEADERS_SIZE: String(MAX_HEADERS) },
      });
    } catch (error) {
      this.#failed(error instanceof Error ? error.message : String(error));
      return;
    }
    this.#process = child;
    const gone = (how: string) => this.#guard.run('shard', () => this.#gone(child, how));
    // Out of descriptors, `spawn` answers a child without a process, that may lack its streams too, and says why only here.
    child.once('error', (error) => gone(error.message));
    // Not `exit`: what the shard said last may still be in the socket then.
    child.once('close', (code, signal) => gone(signal ?? `exit code ${code}`));
    const socket = child.stdio?.[3];
    if (socket instanceof Socket) socket.on('error', () => {});
    if (child.pid === undefined) return;
    if (!(socket instanceof Socket)) {
      child.kill('SIGKILL');
      gone('it has no socket to the hub');
      return;
    }
    if (child.stderr)
      createInterface({ input: child.stderr }).on('line', (line) => {
        if (!line.startsWith(ENGINE_WARNING)) process.stderr.write(`${line}\n`);
      });
    this.#startedAt = performance.now();
    this.#heard = performance.now();
    this.#inFlight = 0;
    this.#missed.clear();
    this.#wire = new MessageStream<HubMessage, ShardMessage>(
      socket,
      (message) => {
        if (child === this.#process) this.#receive(message);
      },
      () => {},
      (error) => this.#guard.caught('shard', error),
    );
    this.configure(this.#settings);
  }

  #receive(message: ShardMessage) {
    this.#heard = performance.now();
    switch (message.type) {
      case 'listening':
        this.listening = true;
        this.#notStarted = undefined;
        this.#firstListen?.resolve();
        this.#firstListen = undefined;
        this.#hooks.message(this, message);
        return;
      case 'failed':
        if (!this.#firstListen) {
          // It does nothing any more: the next one may find what this one lacked.
          this.#notStarted = message.message;
          this.#process?.kill('SIGKILL');
          return;
        }
        this.#firstListen.reject(new Error(message.message));
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
    for (const [key, items] of this.#missed) {
      if (this.#inFlight > this.#settings.gateway.shardWatch.maxInFlight) return;
      this.#missed.delete(key);
      this.#tellMissed(key, items, 'overload');
    }
  }

  #gone(child: ChildProcess, how: string) {
    if (child !== this.#process) return;
    const lived = this.#wire !== undefined;
    this.#process = undefined;
    this.#wire = undefined;
    this.listening = false;
    this.counts = undefined;
    if (!lived) {
      this.#failed(how);
      return;
    }
    if (this.#ending || this.#endsAtStart(how)) return;
    this.#log.error({ shard: this.index, how }, 'shard died: its connections are lost, a new one starts');
    this.restarts++;
    if (performance.now() - this.#startedAt > WELL_MS) this.#respawnMs = RESPAWN_MS;
    this.#respawn();
    this.#hooks.died(this, how);
  }

  /** There is no process: the system is short of descriptors, memory or processes. The other shards go on. */
  #failed(why: string) {
    if (this.#ending || this.#endsAtStart(why)) return;
    this.#notStarted = why;
    this.#log.error({ shard: this.index, why, again: this.#respawnMs }, 'a shard could not be started: tried again');
    this.#respawn();
  }

  /** The gateway does not start where one of its first shards can't. */
  #endsAtStart(how: string): boolean {
    this.#firstListen?.reject(new Error(`the shard ended at its start: ${how}`));
    const first = this.#firstListen !== undefined;
    this.#firstListen = undefined;
    return first;
  }

  #respawn() {
    setTimeout(() => {
      if (!this.#ending) this.#guard.run('timer', () => this.#spawn());
    }, this.#respawnMs);
    this.#respawnMs = Math.min(RESPAWN_LONGEST_MS, this.#respawnMs * 2);
  }

  #watchOver(): () => void {
    let looked = performance.now();
    return onTick(() => {
      const now = performance.now();
      // Where this process itself stood still, the shard's words are still waiting to be read.
      if (now - looked > 2 * TICK_MS) this.#heard = now;
      looked = now;
      const silent = now - this.#heard;
      const { hangTimeout } = this.#settings.gateway.shardWatch;
      if (!this.#process || silent <= (this.listening ? hangTimeout : Math.max(hangTimeout, START_MS))) return;
      this.#log.error({ shard: this.index, silentMs: Math.round(silent) }, 'shard hangs: killing it');
      this.#process.kill('SIGKILL');
    });
  }
}
