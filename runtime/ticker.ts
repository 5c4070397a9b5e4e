/** Milliseconds between two ticks. */
export const TICK_MS = 1_000;

type Listener = { run: () => void; every: number };

const listeners = new Set<Listener>();
let interval: NodeJS.Timeout | undefined;
let ticks = 0;
let report = (error: unknown) => console.error(error);

/**
 * Calls `run` at each `every`-th tick of this process; the returned function ends that. All periodic work shares one timer,
 * so that an idle process wakes up once a second, however many files it watches and reports it sends. The timer keeps no
 * process alive.
 */
export function onTick(run: () => void, every = 1): () => void {
  const listener = { run, every };
  listeners.add(listener);
  interval ??= setInterval(tick, TICK_MS).unref();
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(interval);
    interval = undefined;
  };
}

/** Sets where the errors of listeners go; without it, to standard error. An error keeps no other listener from its call. */
export function onTickError(listener: (error: unknown) => void): void {
  report = listener;
}

function tick() {
  ticks++;
  for (const { run, every } of listeners) {
    if (ticks % every !== 0) continue;
    try {
      run();
    } catch (error) {
      report(error);
    }
  }
}
