/** Milliseconds of the machine's monotonic clock: the same in all processes on it, unlike performance.now(). */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000 + nanoseconds / 1e6;
}
