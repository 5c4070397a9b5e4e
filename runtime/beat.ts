/** Milliseconds between two beats. */
export const BEAT_MS = 1_000;

type Listener = { run: () => void; every: number };

const listeners = new Set<Listener>();
let interval: NodeJS.Timeout | undefined;
let beats = 0;
let complain = (error: unknown) => console.error(error);

/**
 * Calls `run` at each `every`-th beat of this process; returns what ends that. All that is done now and again goes by
 * one timer: an idle process wakes once a second, however many files it watches and reports it makes. It keeps no
 * process alive.
 */
export function onBeat(run: () => void, every = 1): () => void {
  const listener = { run, every };
  listeners.add(listener);
  interval ??= setInterval(beat, BEAT_MS).unref();
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(interval);
    interval = undefined;
  };
}

/** Where errors of those who are called go, from now on; the console's standard error before. The others are called all the same. */
export function onBeatError(complaint: (error: unknown) => void): void {
  complain = complaint;
}

function beat() {
  beats++;
  for (const { run, every } of listeners) {
    if (beats % every !== 0) continue;
    try {
      run();
    } catch (error) {
      complain(error);
    }
  }
}
