import { z } from 'zod';
import type { Client } from '../kube/client.ts';
import { KINDS, type KubeObject } from '../kube/objects.ts';

/** What an event says, and when it was last seen, milliseconds since 1970. */
export type Told = { at: number; note: string };

/** Maximum number of events that are read. The API server keeps them for an hour. */
const MAX_EVENTS = 50;

/** Controllers and kubelets still write events with the deprecated fields. */
const Event = z.object({
  note: z.string().default(''),
  eventTime: z.string().nullish(),
  series: z.object({ lastObservedTime: z.string() }).nullish(),
  deprecatedLastTimestamp: z.string().nullish(),
});

/** The events of an object with this reason, the latest last. */
export async function objectEvents(client: Client, { metadata }: KubeObject, reason: string): Promise<Told[]> {
  const { namespace, uid } = metadata;
  const { items } = await client.list(KINDS.events, {
    ...(namespace === undefined ? {} : { namespace }),
    fieldSelector: `regarding.uid=${uid},reason=${reason}`,
    limit: MAX_EVENTS,
  });
  return items
    .map((item) => Event.parse(item))
    .map((event) => ({ at: timeOf(event), note: event.note }))
    .sort((a, b) => a.at - b.at);
}

function timeOf({ eventTime, series, deprecatedLastTimestamp }: z.infer<typeof Event>): number {
  return Date.parse(series?.lastObservedTime ?? deprecatedLastTimestamp ?? eventTime ?? '') || 0;
}
