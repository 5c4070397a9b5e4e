import { Socket } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { BEAT_MS, onBeat } from '@pushcluster/runtime/beat.ts';
import { descriptorLimit, openDescriptors } from '@pushcluster/runtime/descriptors.ts';
import { createLog } from '@pushcluster/runtime/log.ts';
import { SecretFile } from '@pushcluster/runtime/secretFile.ts';
import { MemoryReader } from '../admission/memoryReader.ts';
import { ShardProtection } from '../admission/shardProtection.ts';
import { nextVerifier, type TokenVerifier, uncheckable } from '../admission/tokenVerifier.ts';
import { loadConsole } from '../console/assets.ts';
import { MessageStream } from '../ipc/messageStream.ts';
import type { HubMessage, ShardMessage } from '../ipc/messages.ts';
import { monotonicMs } from '../ipc/monotonicClock.ts';
import { backlogBudget } from './backlog.ts';
import { Listener } from './listen.ts';
import { Shard } from './shard.ts';

/** How often counts go to the hub while connections are moved away: the pace goes by them. Else they go with each beat. */
const OFTEN_REPORT_MS = 100;
/** Between two looks at resident memory, which reads /proc. */
const RSS_MS = 10_000;
/** Of what may wait for connections, as much may wait for the echo's peers besides. */
const ECHO_PART = 4;
/** While memory is short, so many times less may wait: slow readers go before everyone does. */
const SHORT_PART = 4;
/** How often the loop's delay is sampled, milliseconds: each sample wakes an idle shard. */
const LAG_RESOLUTION = 500;
/** Between looks at a key source that was useless when this shard took the place of another, milliseconds. */
const KEY_RETRY_MS = 2_000;

/**
 * A shard's process: one engine app, and one socket to the hub on descriptor 3. It lives and dies by the hub: signals
 * meant for the process group are the hub's to answer, and when the hub is gone so is the shard.
 */
const log = createLog('gateway-shard', 'info', { thinned: true });
const hub = new Socket({ fd: 3, readable: true, writable: true });
const fdLimit = descriptorLimit();
const loopDelay = monitorEventLoopDelay({ resolution: LAG_RESOLUTION });
const memory = new MemoryReader();
const admissions = new Map<number, (allowed: boolean) => void>();
let shard: Shard | undefined;
let listener: Listener | undefined;
let protection: ShardProtection | undefined;
let listening = false;
let verifier: TokenVerifier | undefined;
let keyRetry: NodeJS.Timeout | undefined;
const keyFetches = { ok: 0, failed: 0 };
let oftenReports: NodeJS.Timeout | undefined;
let lastAsk = 0;
let rssAt = 0;
let shards = 1;
let memoryLimit: number | undefined;

process.on('SIGTERM', () => {});
process.on('SIGINT', () => {});
hub.on('close', () => process.exit(0));
hub.on('error', () => process.exit(1));

const wire = new MessageStream<ShardMessage, HubMessage>(
  hub,
  (message) => hear(message),
  (frame) => shard?.frame(frame),
  (error) => log.error({ err: error, code: 'hub' }, 'an error cost one event'),
);

function hear(message: HubMessage): void {
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
      shard.counts.allowanceTurn = message.turn;
      return;
    case 'short':
      protection.short = message.resource;
      budgetBacklog(shard, memoryLimit);
      return;
    case 'ask': {
      const answer = shard.answer(message.question);
      if (answer) wire.send({ type: 'answer', answer });
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
      // The close frames leave in that turn; what the peers' kernels have by then, they have.
      void shard.endAll().then(() => setTimeout(() => process.exit(0), 100));
      return;
  }
}

async function configure(message: Extract<HubMessage, { type: 'settings' }>): Promise<void> {
  const { settings } = message;
  log.level = settings.log.level;
  try {
    const tokens = openKeys(settings);
    if (!shard) await start(message, tokens);
    else {
      shard.settings = settings;
      shard.verifier = tokens;
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    log.error({ reason }, 'settings could not be applied');
    if (!listening) wire.send({ type: 'failed', message: reason });
  }
}

/**
 * What tokens are checked with. The hub has found the key source good once: where it is useless by now, a shard with keys keeps
 * them, and one that has none yet serves who needs none and looks again.
 * Throws Error with a sentence in the first case.
 */
function openKeys(settings: Settings): Shard['verifier'] {
  clearTimeout(keyRetry);
  const former = verifier;
  try {
    verifier = nextVerifier(former, settings.auth.jwt, {
      onProblem: (problem) => log.error({ problem }, 'keys for tokens'),
      onFetched: (outcome) => keyFetches[outcome]++,
    });
    if (former !== verifier) former?.close();
    return verifier;
  } catch (error) {
    if (former) throw error;
    const problem = error instanceof Error ? error.message : String(error);
    log.error({ problem }, 'keys for tokens: none can be checked until they are there');
    keyRetry = setTimeout(() => {
      if (shard) shard.verifier = openKeys(settings);
    }, KEY_RETRY_MS);
    return uncheckable(problem);
  }
}

async function start(message: Extract<HubMessage, { type: 'settings' }>, tokens: Shard['verifier']) {
  const { settings } = message;
  shards = message.shards;
  const started = new Shard(settings, log, (reply) => wire.send(reply));
  started.verifier = tokens;
  started.counts.fdLimit = fdLimit;
  started.counts.keyFetches = keyFetches;
  shard = started;
  const guard = new ShardProtection({
    settings: () => started.settings.gateway.protection,
    log,
    fdLimit,
    ownFds: openDescriptors(),
    connections: () => started.connections,
    asked: () => admissions.size,
    others: () => listener?.otherFds ?? 0,
  });
  protection = guard;
  listener = new Listener({
    shard: started,
    log,
    protection: guard,
    admit: (ip) =>
      new Promise((resolve) => {
        admissions.set(++lastAsk, resolve);
        wire.send({ type: 'admit', ask: lastAsk, ip });
      }),
    shards: () => message.shards,
    assets: settings.gateway.console
      ? loadConsole({ pushUrl: settings.gateway.consolePushUrl, room: settings.gateway.consoleRoom })
      : new Map(),
  });
  await listener.listen();
  listening = true;
  if (settings.gateway.tls) followCertificate(settings.gateway.tls);
  wire.send({ type: 'listening' });
  loopDelay.enable();
  let observed = monotonicMs();
  onBeat(() => {
    const now = monotonicMs();
    // A loop that stood still may run this before the sampler has seen it.
    const lag = Math.max(0, loopDelay.max / 1e6 - LAG_RESOLUTION, now - observed - BEAT_MS);
    observed = now;
    loopDelay.reset();
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
  // Each file alone may not fit the other yet: then the former pair stays, and the other's change comes next.
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
  counts.keysStaleFor = verifier?.remote?.staleFor ?? 0;
  counts.fds = protection?.fds ?? 0;
  counts.loopPressure = protection?.loopPressure ?? 0;
  counts.cpuSeconds = (cpu.user + cpu.system) / 1e6;
  if (performance.now() - rssAt >= RSS_MS || counts.rss === 0) {
    rssAt = performance.now();
    counts.rss = process.memoryUsage.rss();
    // Limits may change where a pod is resized in place; without one, what the host has available does.
    memoryLimit = memory.read(counts.rss)?.limit;
    budgetBacklog(started, memoryLimit);
  }
  counts.backlog = started.backlog.bytes + (listener?.echo.backlog.bytes ?? 0);
  counts.backlogBudget = started.backlogBudget;
  counts.sentAt = monotonicMs();
  wire.send({ type: 'counts', counts });
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
