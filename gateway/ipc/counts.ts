import type { MoveReason } from './move.ts';

/** Upper bounds of the latency histogram, seconds: dense around the merge window of 1 s, and below it. */
export const LATENCY_BUCKETS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 5, 10,
] as const;

/** Why items did not reach a connection. */
export type DropReason = 'slow' | 'overload' | 'bus_gap';

/** What a shard reports: gauges, and counters since its start. The hub takes the differences of the counters. */
export type ShardCounts = {
  // Now.
  connections: number;
  /** Connections that were not asked to leave. */
  unasked: number;
  /** Of those, how many may be moved to rebalance, at most. */
  movable: number;
  /** The last allowance that was read. */
  allowanceGeneration: number;
  rooms: number;
  /** Seconds that the event loop was late, the worst since the last report. */
  loopLag: number;
  /** Bytes of resident memory of the shard's process. */
  rss: number;
  /** Open file descriptors, and their limit. */
  fds: number;
  fdLimit: number;
  /** Bytes that wait for slow clients, and their limit. */
  backlog: number;
  backlogBudget: number;
  /** The loop's delay as a share of what is too late, 0 to 1. */
  loopPressure: number;
  /** Seconds since the keys of a JWKS URL should have been refreshed; 0 while they are fresh. */
  keysStaleFor: number;
  /** When the certificate in use expires (seconds since 1970), and how long it is valid in all; 0 without TLS. */
  certificateEnds: number;
  certificateLasts: number;
  /** When it was sent, milliseconds of the machine's monotonic clock. */
  sentAt: number;
  // Since the start.
  opened: number;
  framesSent: number;
  messagesDelivered: number;
  bytesSent: number;
  inboundFrames: number;
  /** Answers and RECONNECTs that were dropped, since the socket's buffer was full. */
  answersDropped: number;
  /** Connections closed because the backlog of all slow clients together was over its budget. */
  backlogCut: number;
  cpuSeconds: number;
  closed: Record<string, number>;
  refused: Record<string, number>;
  ignored: Record<string, number>;
  dropped: Record<DropReason, number>;
  moved: Record<MoveReason, number>;
  /** Fetches of a JWKS by URL. */
  keyFetches: Record<'ok' | 'failed', number>;
  /** Messages delivered by latency: one count for each of LATENCY_BUCKETS and one beyond, not cumulative. */
  latency: number[];
  latencySum: number;
};

export function newCounts(): ShardCounts {
  return {
    connections: 0,
    unasked: 0,
    movable: 0,
    allowanceGeneration: 0,
    rooms: 0,
    loopLag: 0,
    rss: 0,
    fds: 0,
    fdLimit: 0,
    backlog: 0,
    backlogBudget: 0,
    loopPressure: 0,
    keysStaleFor: 0,
    certificateEnds: 0,
    certificateLasts: 0,
    sentAt: 0,
    opened: 0,
    framesSent: 0,
    messagesDelivered: 0,
    bytesSent: 0,
    inboundFrames: 0,
    answersDropped: 0,
    backlogCut: 0,
    cpuSeconds: 0,
    closed: {},
    refused: {},
    ignored: {},
    dropped: { slow: 0, overload: 0, bus_gap: 0 },
    moved: { leave: 0, drain: 0, rebalance: 0 },
    keyFetches: { ok: 0, failed: 0 },
    latency: new Array<number>(LATENCY_BUCKETS.length + 1).fill(0),
    latencySum: 0,
  };
}

/**
 * Adds `messages` observations to the histogram of delivery latency.
 * @param seconds from acceptance by logic to the write to the socket; less than 0 (clocks differ) counts as 0
 */
export function observeLatency(counts: ShardCounts, seconds: number, messages: number): void {
  const late = Math.max(0, seconds);
  let bucket = 0;
  while (bucket < LATENCY_BUCKETS.length && late > LATENCY_BUCKETS[bucket]!) bucket++;
  counts.latency[bucket]! += messages;
  counts.latencySum += late * messages;
}

/** Adds one for `label`. A label stays as long as the process, so there must be few. */
export function increment(counter: Record<string, number>, label: string): void {
  counter[label] = (counter[label] ?? 0) + 1;
}
