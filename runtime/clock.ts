/** Time as an argument of the rules, so that tests run them on a fake clock (fakeClock.ts). */
export interface Clock {
  /**
   * Milliseconds of the machine's monotonic clock: the same value in all processes of a machine. It is never set and
   * keeps counting while the process is stopped. Only differences have a meaning.
   */
  now(): number;
  /** Milliseconds since 1970. An administrator or NTP may set this clock, so no duration is measured with it. */
  wall(): number;
  /** Calls `run` once after `ms` milliseconds. The returned function cancels the timer. */
  after(ms: number, run: () => void): () => void;
  /** Calls `run` in the next turn of the event loop. */
  soon(run: () => void): void;
}

/** Longest delay of a timer, milliseconds: Node fires longer ones at once. */
const MAX_DELAY = 2 ** 31 - 1;

/** Readings of both clocks: a process that is descheduled between two readings gets too small a difference. */
const SAMPLES = 5;
/** performance.now() is cheaper than hrtime(), but starts at 0 in each process: this is the difference. */
const ORIGIN = originOf(SAMPLES);

export const systemClock: Clock = {
  now: () => ORIGIN + performance.now(),
  wall: () => Date.now(),
  after(ms, run) {
    const timer = setTimeout(run, Math.min(ms, MAX_DELAY));
    return () => clearTimeout(timer);
  },
  soon(run) {
    setImmediate(run);
  },
};

/** The system's clock for background work: its timers do not keep a process alive. */
export const backgroundClock: Clock = {
  ...systemClock,
  after(ms, run) {
    const timer = setTimeout(run, Math.min(ms, MAX_DELAY)).unref();
    return () => clearTimeout(timer);
  },
};

/** Waits `ms` milliseconds, or until `signal` aborts. Never rejects. */
export function pause(clock: Pick<Clock, 'after'>, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = () => {
      cancel();
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const cancel = clock.after(ms, end);
    signal?.addEventListener('abort', end, { once: true });
  });
}

function machineMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000 + nanoseconds / 1e6;
}

function originOf(samples: number): number {
  // The first reading loads the global.
  performance.now();
  return Math.max(...Array.from({ length: samples }, () => machineMs() - performance.now()));
}
