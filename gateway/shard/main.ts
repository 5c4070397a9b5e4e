import { closeSync, readSync } from 'node:fs';
import { Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { systemClock } from '@pushcluster/runtime/clock.ts';
import { descriptorLimit, openDescriptors } from '@pushcluster/runtime/descriptors.ts';
import { createLog } from '@pushcluster/runtime/log.ts';
import { SecretFile } from '@pushcluster/runtime/secretFile.ts';
import { onTick } from '@pushcluster/runtime/ticker.ts';
import { MemoryReader } from '../admission/memoryReader.ts';
import { ShardProtection } from '../admission/shardProtection.ts';
import { loadConsole } from '../console/assets.ts';
import { MessageStream } from '../ipc/messageStream.ts';
import type { HubMessage, ShardMessage } from '../ipc/messages.ts';
import type { Verifier } from './authentication.ts';
import { backlogBudget } from './backlogLimit.ts';
import { Listener } from './listener.ts';
import { LongTurn } from './longTurn.ts';
import { LoopDelay } from './loopDelay.ts';
import { Shard } from './shard.ts';
import { VerifierSource } from './verifierSource.ts';

/** Between reports of counts while connections are moved away, milliseconds: the pace depends on them. Otherwise each tick reports. */
const OFTEN_REPORT_MS = 100;
/** Between two readings of resident memory, milliseconds: each reads /proc. */
const RSS_MS = 10_000;
/** The echo's peers have a backlog budget of their own: a quarter of that of connections. */
const ECHO_PART = 4;
/** While memory is short the backlog budget is a quarter: slow readers are closed before everyone is. */
const SHORT_PART = 4;
/** From the last close frames to the end of the process, milliseconds: they leave in the next turn of the loop. */
const EXIT_AFTER_MS = 100;
/** The socket to the hub. */
const HUB_FD = 3;
/** Bytes of the hub's messages that are read at once. */
const READ_BYTES = 65_536;

/**
 * A shard's process: one engine app, and one socket to the hub on descriptor 3. It ends when the hub says so or is gone.
 * Signals go to the whole process group; the hub alone answers them.
 *
 * Usage: main.ts [DESCRIPTOR] (to be closed: it was there to make room in the table of descriptors)
 */
if (process.argv[2] !== undefined) closeSync(Number(process.argv[2]));
const log = createLog('gateway-shard', 'info', { rateLimited: true });
const turn = new LongTurn({
  loop: systemClock,
  serve: (ms) => {
    readHub();
    shard?.broadcast(ms);
  },
});
const hub: Socket = new Socket({
  fd: HUB_FD,
  readable: true,
  writable: true,
  // Without it Node allocates 64 KiB for each read, however little comes.
  onread: {
    buffer: Buffer.allocUnsafeSlow(READ_BYTES),
    callback: (size, buffer) => {
      // In the middle of a message nothing more is read.
      turn.during(() => heard(buffer, size));
      return true;
    },
  },
});
const between = Buffer.allocUnsafeSlow(READ_BYTES);
const fdLimit = descriptorLimit();
const memory = new MemoryReader();
/** Handshakes that wait for the hub's answer, by number. */
const admissions = new Map<number, (allowed: boolean) => void>();
let shard: Shard | undefined;
let listener: Listener | undefined;
let protection: ShardProtection | undefined;
let listening = false;
const keys = new VerifierSource(log, (verifier) => {
  if (shard) shard.verifier = verifier;
});
let oftenReports: NodeJS.Timeout | undefined;
let lastAsk = 0;
let rssAt = 0;
let shards = 1;
let memoryLimit: number | undefined;

process.on('SIGTERM', () => {});
process.on('SIGINT', () => {});
hub.on('end', () => process.exit(0));
hub.on('close', () => process.exit(0));
hub.on('error', () => process.exit(1));

const toHub = new MessageStream<ShardMessage, HubMessage>(
  hub,
  (message) => handle(message),
  (frame) => shard?.frame(frame),
  (error) => log.error({ err: error, code: 'hub' }, 'an event handler failed; the process goes on'),
);

function heard(buffer: Uint8Array, size: number): void {
  hub.emit('data', Buffer.from(buffer.subarray(0, size)));
}

/** Reads what the hub has sent, in the middle of a turn of the loop. */
function readHub(): void {
  let size = 0;
  try {
    size = readSync(HUB_FD, between);
  } catch {
    // There is nothing. If the hub has gone, its socket says so.
  }
  if (size > 0) heard(between, size);
}

function handle(message: HubMessage): void {
  if (message.type === 'settings') {
    void configure(message);
    return;
  }
  if (!shard || !protection || shard.handle(message)) return;
  switch (message.type) {
    case 'admitted':
      admissions.get(message.ask)?.(!message.refused);
      admissions.delete(message.ask);
      return;
    case 'allowance':
      protection.allowance = message.connections;
      shard.counts.allowanceGeneration = message.generation;
      return;
    case 'short':
      protection.short = message.resource;
      budgetBacklog(shard, memoryLimit);
      return;
    case 'ask': {
      const answer = shard.answer(message.question);
      if (answer) toHub.send({ type: 'answer', answer });
      return;
    }
    case 'stopListening':
      listener?.stop();
      report(shard);
      return;
    case 'reportOften':
      clearInterval(oftenReports);
      if (message.on) oftenReports = setInterval(report, OFTEN_REPORT_MS, shard);
      report(shard);
      return;
    case 'exit':
      listener?.echo.endAll();
      void shard.endAll().then(() => setTimeout(() => process.exit(0), EXIT_AFTER_MS));
      return;
  }
}

async function configure(message: Extract<HubMessage, { type: 'settings' }>): Promise<void> {
  const { settings } = message;
  log.level = settings.log.level;
  try {
    const verifier = keys.open(settings.auth.jwt);
    if (!shard) await start(message, verifier);
    else {
      shard.settings = settings;
      shard.verifier = verifier;
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    log.error({ reason }, 'settings could not be applied');
    if (!listening) toHub.send({ type: 'failed', message: reason });
  }
}

async function start(message: Extract<HubMessage, { type: 'settings' }>, verifier: Verifier | undefined) {
  const { settings } = message;
  shards = message.shards;
  const started = new Shard(settings, log, (reply) => toHub.send(reply));
  started.verifier = verifier;
  started.counts.fdLimit = fdLimit;
  started.counts.keyFetches = keys.fetches;
  shard = started;
  const guard = new ShardProtection({
    settings: () => started.settings.gateway.protection,
    log,
    fdLimit,
    // The listening socket is the next one.
    ownFds: openDescriptors() + 1,
    connections: () => started.connections,
    asked: () => admissions.size,
    others: () => listener?.otherFds ?? 0,
    openFds: openDescriptors,
  });
  protection = guard;
  listener = new Listener({
    shard: started,
    log,
    protection: guard,
    turn,
    admit: (ip) =>
      new Promise((resolve) => {
        admissions.set(++lastAsk, resolve);
        toHub.send({ type: 'admit', ask: lastAsk, ip });
      }),
    shards: () => message.shards,
    assets: settings.gateway.console
      ? loadConsole({ pushUrl: settings.gateway.consolePushUrl, room: settings.gateway.consoleRoom })
      : new Map(),
  });
  // The end of a hub that has died meanwhile is read by then. Without it, nothing is served, and the next gateway needs the
  // port.
  await setImmediate();
  await listener.listen();
  listening = true;
  if (settings.gateway.tls) followCertificate(settings.gateway.tls);
  toHub.send({ type: 'listening' });
  const loopDelay = new LoopDelay(systemClock);
  onTick(() => {
    const lag = loopDelay.tick();
    started.counts.loopLag = lag / 1_000;
    guard.observe(lag);
    report(started);
    started.expire(Math.floor(Date.now() / 1_000));
  });
}

function followCertificate(tls: { certFile: string; keyFile: string }) {
  const relisten = () => {
    listener?.listen().then(
      () => log.info('certificate reloaded'),
      (error: unknown) => log.error({ err: error }, 'the new certificate could not be used; the former stays'),
    );
  };
  // A new file may not fit the other one yet. Then the former pair stays in use until the other file has changed, too.
  for (const path of [tls.certFile, tls.keyFile]) {
    const file = SecretFile.open(path, (bytes) => bytes);
    file.onChange(relisten);
    file.onProblem((problem) => log.error({ problem }, 'certificate'));
  }
}

function report(started: Shard) {
  started.reportDone();
  const { counts } = started;
  const cpu = process.cpuUsage();
  counts.connections = started.connections;
  counts.unasked = started.unasked;
  counts.movable = started.movable;
  counts.rooms = started.rooms;
  counts.keysStaleFor = keys.staleFor;
  counts.certificateEnds = listener?.certificate?.ends ?? 0;
  counts.certificateLasts = listener?.certificate?.lasts ?? 0;
  counts.fds = protection?.fds ?? 0;
  counts.loopPressure = protection?.loopPressure ?? 0;
  counts.cpuSeconds = (cpu.user + cpu.system) / 1e6;
  if (systemClock.now() - rssAt >= RSS_MS || counts.rss === 0) {
    rssAt = systemClock.now();
    counts.rss = process.memoryUsage.rss();
    // A limit changes if a pod is resized in place. Without a limit it is what the host has available, which changes.
    memoryLimit = memory.read(counts.rss)?.limit;
    budgetBacklog(started, memoryLimit);
  }
  counts.backlog = started.backlog.bytes + (listener?.echo.backlog.bytes ?? 0);
  counts.backlogBudget = started.backlogBudget;
  counts.sentAt = systemClock.now();
  toHub.send({ type: 'counts', counts });
}

function budgetBacklog(started: Shard, limit: number | undefined) {
  if (limit === undefined) return;
  const least = started.settings.gateway.slowConsumer.maxBuffer;
  const part = protection?.short === 'memory' ? SHORT_PART : 1;
  started.backlogBudget = backlogBudget(limit / part, shards, least);
  started.backlog.check();
  if (!listener) return;
  listener.echo.backlogBudget = started.backlogBudget / ECHO_PART;
  listener.echo.backlog.check();
}
