import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { LagReason } from '@pushcluster/protocol/frames.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { systemClock } from '@pushcluster/runtime/clock.ts';
import { descriptorLimit } from '@pushcluster/runtime/descriptors.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { onTick, TICK_MS } from '@pushcluster/runtime/ticker.ts';
import type { ChannelKey } from '../ipc/channelKey.ts';
import type { ShardCounts } from '../ipc/counts.ts';
import type { FrameBatch } from '../ipc/frame.ts';
import { MessageStream } from '../ipc/messageStream.ts';
import type { HubMessage, ShardMessage } from '../ipc/messages.ts';
import type { ResumeAnswer } from '../ipc/resume.ts';
import { tableDescriptor, withTable } from './descriptorTable.ts';
import type { ExceptionGuard } from './exceptionGuard.ts';
import { FlowControl } from './flowControl.ts';
import type { ShardHandle } from './shardHandle.ts';
import type { SlicedWork } from './slicedWork.ts';

const SHARD_MAIN = fileURLToPath(new URL('../shard/main.ts', import.meta.url));
/** Bytes of a request's headers that the engine accepts. Its default of 4 KiB is too small for cookies and a token. */
const MAX_HEADERS = 16_384;
/** Handshakes leave garbage behind. With V8's default of 16 MiB semi-spaces it would stay while the shard is idle. */
const SMALL_YOUNG_GENERATION = ['--max-semi-space-size=4'];
/**
 * The engine prints it at each handshake that waited for its token's check: it does not apply (shard/listener.ts), and
 * is not printed.
 */
const ENGINE_WARNING = 'Warning: uWS.HttpResponse writes must be made from within a corked callback.';
/**
 * A shard that died, or could not be started, is replaced after this long, milliseconds. The delay is doubled at each
 * death before WELL_MS, up to RESPAWN_LONGEST_MS.
 */
const RESPAWN_MS = 50;
const RESPAWN_LONGEST_MS = 5_000;
/**
 * A shard that does not listen yet may be silent for this long, milliseconds: a process starts slowly on a busy
 * machine.
 */
const START_MS = 60_000;
/** A shard that lived this long, milliseconds, did not die early. */
const WELL_MS = 30_000;

export type ShardProcessHooks = {
  /** A message of the shard, but for those about its process, its counts and its flow control. */
  message(shard: ShardProcess, message: ShardMessage): void;
  /** New counts, and those before them (undefined from a new process). */
  counted(counts: ShardCounts, before: ShardCounts | undefined): void;
  /** The process has ended, and its connections are closed. Another one is started. */
  died(shard: ShardProcess, how: string): void;
  /** `items` of a channel were left out, since too much is on its way to the shard. */
  overrun(items: number): void;
};

export type ShardProcessOptions = {
  index: number;
  /** Number of shards. */
  shards: number;
  settings: Settings;
  log: Logger;
  guard: ExceptionGuard;
  work: SlicedWork;
  hooks: ShardProcessHooks;
  /** Starts a process. Default: that of node:child_process. */
  spawn?: (command: string, args: string[], options: SpawnOptions) => ChildProcess;
};

/**
 * One shard, as the hub runs it: starts its process, sends to it, and watches it. A process that dies is replaced; one
 * that is silent for gateway.shardWatch.hangTimeout is killed and replaced.
 */
export class ShardProcess implements ShardHandle {
  readonly index: number;
  counts: ShardCounts | undefined;
  listening = false;
  restarts = 0;
  readonly #log: Logger;
  readonly #guard: ExceptionGuard;
  readonly #work: SlicedWork;
  readonly #hooks: ShardProcessHooks;
  readonly #spawnProcess: NonNullable<ShardProcessOptions['spawn']>;
  readonly #shards: number;
  #settings: Settings;
  #process: ChildProcess | undefined;
  #stream: MessageStream<HubMessage, ShardMessage> | undefined;
  #flow: FlowControl | undefined;
  /** When its last message came. */
  #receivedAt = 0;
  #startedAt = 0;
  #respawnMs = RESPAWN_MS;
  /** Why there is no process. */
  #notStarted: string | undefined;
  #ending = false;
  readonly #stopWatching: () => void;
  #firstListen: { resolve: () => void; reject: (error: Error) => void } | undefined;

  constructor(options: ShardProcessOptions) {
    this.index = options.index;
    this.#shards = options.shards;
    this.#settings = options.settings;
    this.#log = options.log;
    this.#guard = options.guard;
    this.#work = options.work;
    this.#hooks = options.hooks;
    this.#spawnProcess = options.spawn ?? spawn;
    this.#stopWatching = this.#watchOver();
  }

  /** Resolves when the shard listens. Rejects with a sentence if it can't. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#firstListen = { resolve, reject };
      this.#spawn();
    });
  }

  /** Why it does not listen, as a sentence; undefined while it listens. */
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
    return this.#flow?.inFlight ?? 0;
  }

  configure(settings: Settings): void {
    this.#settings = settings;
    this.send({ type: 'settings', shard: this.index, settings, shards: this.#shards });
  }

  send(message: HubMessage): void {
    this.#stream?.send(message);
  }

  sendFrames(...batch: FrameBatch): void {
    this.#flow?.sendFrames(...batch);
  }

  sendMissed(key: ChannelKey, items: number, reason: LagReason): void {
    this.#flow?.sendMissed(key, items, reason);
  }

  get isFull(): boolean {
    return this.#flow?.isFull ?? false;
  }

  sendResumed(key: ChannelKey, ask: number, answer: ResumeAnswer): void {
    this.#flow?.sendResumed(key, ask, answer);
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
      const table = tableDescriptor(descriptorLimit());
      const args = [
        ...process.execArgv,
        ...SMALL_YOUNG_GENERATION,
        SHARD_MAIN,
        ...(table === undefined ? [] : [`${table}`]),
      ];
      child = this.#spawnProcess(process.execPath, args, {
        stdio: withTable(['ignore', 'inherit', 'pipe', 'pipe'], table),
        env: { ...process.env, UWS_HTTP_MAX_HEADERS_SIZE: String(MAX_HEADERS) },
      });
    } catch (error) {
      this.#failed(error instanceof Error ? error.message : String(error));
      return;
    }
    this.#process = child;
    const gone = (how: string) => this.#guard.run('shard', () => this.#gone(child, how));
    // Without descriptors `spawn` returns a child without a process, which may lack its streams too. The reason comes
    // here.
    child.once('error', (error) => gone(error.message));
    // Not at `exit`: the shard's last messages may still be in the socket then.
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
    this.#startedAt = systemClock.now();
    this.#receivedAt = systemClock.now();
    this.#stream = new MessageStream<HubMessage, ShardMessage>(
      socket,
      (message) => {
        if (child === this.#process) this.#receive(message);
      },
      () => {},
      (error) => this.#guard.caught('shard', error),
      systemClock,
    );
    this.#flow = new FlowControl({
      stream: this.#stream,
      maxInFlight: () => this.#settings.gateway.shardWatch.maxInFlight,
      overrun: (items) => this.#hooks.overrun(items),
      work: this.#work,
    });
    this.configure(this.#settings);
  }

  #receive(message: ShardMessage) {
    this.#receivedAt = systemClock.now();
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
          // It does nothing any more. The next process may get what this one lacked.
          this.#notStarted = message.message;
          this.#process?.kill('SIGKILL');
          return;
        }
        this.#firstListen.reject(new Error(message.message));
        this.#firstListen = undefined;
        return;
      case 'done':
        this.#flow?.done(message.bytes);
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

  #gone(child: ChildProcess, how: string) {
    if (child !== this.#process) return;
    const lived = this.#stream !== undefined;
    this.#process = undefined;
    this.#stream = undefined;
    this.#flow?.close();
    this.#flow = undefined;
    this.listening = false;
    this.counts = undefined;
    if (!lived) {
      this.#failed(how);
      return;
    }
    if (this.#ending || this.#endsAtStart(how)) return;
    this.#log.error({ shard: this.index, how }, 'shard died: its connections are lost, a new one starts');
    this.restarts++;
    if (systemClock.now() - this.#startedAt > WELL_MS) this.#respawnMs = RESPAWN_MS;
    this.#respawn();
    this.#hooks.died(this, how);
  }

  /** There is no process, since the system is short of descriptors, memory or processes. The other shards go on. */
  #failed(why: string) {
    if (this.#ending || this.#endsAtStart(why)) return;
    this.#notStarted = why;
    this.#log.error({ shard: this.index, why, again: this.#respawnMs }, 'cannot start a shard: retrying');
    this.#respawn();
  }

  /** The gateway does not start if one of its first shards can't. */
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
    let looked = systemClock.now();
    return onTick(() => {
      const now = systemClock.now();
      // If this process itself stood still, the shard's messages are yet to be read.
      if (now - looked > 2 * TICK_MS) this.#receivedAt = now;
      looked = now;
      const silent = now - this.#receivedAt;
      const { hangTimeout } = this.#settings.gateway.shardWatch;
      if (!this.#process || silent <= (this.listening ? hangTimeout : Math.max(hangTimeout, START_MS))) return;
      this.#log.error({ shard: this.index, silentMs: Math.round(silent) }, 'shard hangs: killing it');
      this.#process.kill('SIGKILL');
    });
  }
}
