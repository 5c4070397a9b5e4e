import type { Logger } from '@pushcluster/runtime/log.ts';
import { WatchedFile } from '@pushcluster/runtime/watchedFile.ts';
import { z } from 'zod';

const Time = z.iso.datetime({ offset: true });

/**
 * The order to drain, in a file that another writes (the value of a pod's annotation, by a volume): the time at which it
 * was given. Empty, or not there: no order.
 * @param ordered called with that time, milliseconds since the epoch, or undefined, at each change
 * @param pollInterval milliseconds between looks, a second by default
 */
export function followDrainFile(
  path: string,
  log: Logger,
  ordered: (since: number | undefined) => void,
  pollInterval?: number,
): WatchedFile {
  let last: number | undefined;
  const say = (text: string) => {
    const since = orderOf(text);
    if (Number.isNaN(since))
      log.error({ file: path }, 'the order to drain is not a time such as 2026-01-31T12:00:00Z: it is not followed');
    const order = Number.isNaN(since) ? undefined : since;
    if (order === last) return;
    last = order;
    ordered(order);
  };
  const file = new WatchedFile(path, {
    mayBeMissing: true,
    ...(pollInterval === undefined ? {} : { pollInterval }),
    changed: (bytes) => say(bytes.toString()),
    unreadable: () => say(''),
    readable: () => say(file.bytes.toString()),
  });
  say(file.bytes.toString());
  return file;
}

/** Milliseconds since the epoch; NaN where it is no time. */
function orderOf(text: string): number | undefined {
  const trimmed = text.trim();
  if (trimmed === '') return undefined;
  return Time.safeParse(trimmed).success ? Date.parse(trimmed) : Number.NaN;
}
