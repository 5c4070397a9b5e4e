import type { PodStatusSummary } from './podStatusSummary.ts';

/**
 * A changing number stays in the status for this long, milliseconds: each update is a write and an event for watchers.
 */
export const DISPLAY_MS = 30_000;
/** The same for the connections that draining gateways still hold. */
const DRAIN_DISPLAY_MS = 10_000;
/** A difference of connections that is worth an update. */
const MIN_DIFFERENCE = 0.05;
/** From this share of a limit on, the pressure on a gateway is shown. Above 1 the gateway refuses new connections. */
export const NEAR_LIMIT = 0.8;

/** The numbers in the status that change all the time, and since when each is shown, by the clock's `now`. */
export type DisplayedNumbers = {
  at: number;
  connections: number | undefined;
  fullest: PodStatusSummary['fullest'];
  leftAt: number;
  left: number | undefined;
};

/** The numbers to show now: those shown before unless they are old enough and differ enough. */
export function displayedNumbers(
  before: DisplayedNumbers | undefined,
  summary: PodStatusSummary,
  now: number,
): DisplayedNumbers {
  const { connections, isCounted, fullest, left } = summary;
  const pressure = roundedPressure(fullest);
  const isLeftDue =
    !before || now - before.leftAt >= DRAIN_DISPLAY_MS || (left ?? 0) === 0 || before.left === undefined;
  const drain = isLeftDue ? { leftAt: now, left } : { leftAt: before.leftAt, left: before.left };
  // A sum that lacks some gateways is not shown: it would stay for 30 s.
  if (!isCounted)
    return before ? { ...before, ...drain } : { at: now, connections: undefined, fullest: pressure, ...drain };
  if (!before || before.connections === undefined || connections === undefined)
    return { at: now, connections, fullest: pressure, ...drain };
  const age = now - before.at;
  const count = displayedConnections({ connections: before.connections, age }, connections);
  const isFuller = age >= DISPLAY_MS && pressure?.share !== before.fullest?.share;
  if (count === before.connections && !isFuller) return { ...before, ...drain };
  return { at: now, connections: count, fullest: pressure, ...drain };
}

/** Milliseconds until the displayed numbers have to be replaced; undefined if the current ones are shown already. */
export function replacedIn(shown: DisplayedNumbers, summary: PodStatusSummary, now: number): number | undefined {
  const due = { ...shown, at: now - DISPLAY_MS };
  const next = displayedNumbers(due, summary, now);
  if (next.connections === shown.connections && next.fullest?.share === shown.fullest?.share) return undefined;
  return Math.max(0, shown.at + DISPLAY_MS - now);
}

/**
 * The number of connections to show: the one shown before, unless that is 30 s old and differs by more than 5 %, or one
 * of both is 0.
 * @param shown the number shown before, and its age in milliseconds
 */
export function displayedConnections(shown: { connections: number; age: number } | undefined, count: number): number {
  if (!shown) return count;
  if (shown.age < DISPLAY_MS) return shown.connections;
  const isOff = Math.abs(count - shown.connections) > MIN_DIFFERENCE * shown.connections;
  return isOff || (count === 0) !== (shown.connections === 0) ? count : shown.connections;
}

/** The share of a limit to show, rounded down to 5 %; undefined below NEAR_LIMIT. */
function roundedPressure(fullest: PodStatusSummary['fullest']): PodStatusSummary['fullest'] {
  if (!fullest || fullest.share < NEAR_LIMIT) return undefined;
  return { ...fullest, share: Math.floor(fullest.share * 20) / 20 };
}
