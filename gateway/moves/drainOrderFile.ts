import type { Logger } from '@pushcluster/runtime/log.ts';
import { WatchedFile } from '@pushcluster/runtime/watchedFile.ts';
import { z } from 'zod';

const Time = z.iso.datetime({ offset: true });

/**
 * Reads the order to drain from a file that holds the time of the order (an annotation of the pod, in a volume). An empty
 * or missing file is no order; one that can't be read changes nothing.
 * @param ordered called at each change with that time, milliseconds since 1970, or undefined if there is no order
 * @param pollInterval milliseconds between two checks of the file, a second by default
 */
export function followDrainOrderFile(
  path: string,
  log: Logger,
  ordered: (since: number | undefined) => void,
  pollInterval?: number,
): WatchedFile {
  let last: number | undefined;
  const read = (text: string) => {
    const since = orderOf(text);
    if (Number.isNaN(since))
      log.error({ file: path }, 'the order to drain is ignored, because it is not a time such as 2026-01-31T12:00:00Z');
    const order = Number.isNaN(since) ? undefined : since;
    if (order === last) return;
    last = order;
    ordered(order);
  };
  const file = new WatchedFile(path, {
    mayBeMissing: true,
    ...(pollInterval === undefined ? {} : { pollInterval }),
    changed: (bytes) => read(bytes.toString()),
    missing: () => read(''),
    // The order stays: an error must not bring back a gateway that is being emptied.
    unreadable: (problem) => log.error({ file: path, problem }, 'the file of the order to drain could not be read'),
    readable: () => read(file.bytes.toString()),
  });
  read(file.bytes.toString());
  return file;
}

/** Milliseconds since 1970; NaN if it is not a time; undefined if there is none. */
function orderOf(text: string): number | undefined {
  const trimmed = text.trim();
  if (trimmed === '') return undefined;
  return Time.safeParse(trimmed).success ? Date.parse(trimmed) : Number.NaN;
}
