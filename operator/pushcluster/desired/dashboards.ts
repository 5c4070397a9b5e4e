import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { V1ConfigMap } from '@kubernetes/client-node';
import { z } from 'zod';
import type { PushCluster } from '../../api/pushCluster.ts';
import type { DesiredObject } from './context.ts';
import { metadataOf } from './metadata.ts';
import { names } from './names.ts';

export type Dashboards = V1ConfigMap & DesiredObject;

/** The chart's own: the image has them in the same place. */
const FOLDER = new URL('../../../charts/pushcluster/dashboards/', import.meta.url);
/** What Grafana's sidecar looks for unless it is told otherwise. */
const SIDECAR_LABEL = { grafana_dashboard: '1' };
/** Stand in texts that are kept for what each cluster has of its own. */
const [NAMESPACE, NAME, ID] = ['@NAMESPACE@', '@NAME@', '@ID@'];
const PLACES = new RegExp([NAMESPACE, NAME, ID].join('|'), 'g');
const TITLE = 'PushCluster / ';

/** What is looked at of a dashboard; the rest stays as it is. */
const Dashboard = z.looseObject({
  uid: z.string(),
  title: z.string().startsWith(TITLE),
  tags: z.array(z.string()),
  links: z.array(z.looseObject({ tags: z.array(z.string()) })),
  templating: z.looseObject({ list: z.array(z.looseObject({ name: z.string() })) }),
});

let texts: ReadonlyMap<string, string> | undefined;

/**
 * A ConfigMap for each of the chart's dashboards, with this cluster chosen by their variables. A Grafana that shows several
 * clusters, or the chart's dashboards too, tells them apart: each has a uid, a title, a file and a set of links of its own.
 */
export function dashboards(cluster: PushCluster): Dashboards[] {
  const { enabled, labels, annotations } = cluster.spec.monitoring.dashboards;
  if (!enabled) return [];
  const { namespace, name } = cluster.metadata;
  const places: Record<string, string> = { [NAMESPACE]: namespace, [NAME]: name, [ID]: idOf(cluster) };
  return [...dashboardTexts()].map(([title, text]) => {
    const metadata = metadataOf(cluster, `${names(cluster).dashboard}-${title}`, 'dashboards', annotations);
    const own = text.replace(PLACES, (place) => places[place] ?? place);
    return {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { ...metadata, labels: { ...SIDECAR_LABEL, ...labels, ...metadata.labels } },
      // The sidecar puts all into one folder by these names. No namespace and no PushCluster has a dot.
      data: { [`pushcluster.${namespace}.${name}.${title}.json`]: own },
    };
  });
}

/** By title, with places for what a cluster has of its own. One text for all, and not a tree for each: an operator may have hundreds. */
export function dashboardTexts(): ReadonlyMap<string, string> {
  texts ??= new Map(readdirSync(FOLDER).map((file) => [basename(file, '.json'), textOf(file)]));
  return texts;
}

function textOf(file: string): string {
  const read = Dashboard.parse(JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8')));
  const chosen: Record<string, string> = { namespace: NAMESPACE, cluster: NAME };
  const ofCluster = `pushcluster:${NAMESPACE}/${NAME}`;
  const kept = JSON.stringify({
    ...read,
    uid: `pc-${ID}-${basename(file, '.json')}`,
    title: `PushCluster ${NAMESPACE}/${NAME} / ${read.title.slice(TITLE.length)}`,
    tags: [...read.tags, ofCluster],
    links: read.links.map((link) => ({ ...link, title: `PushCluster ${NAMESPACE}/${NAME}`, tags: [ofCluster] })),
    templating: {
      ...read.templating,
      list: read.templating.list.map((variable) => {
        const value = chosen[variable.name];
        return value === undefined
          ? variable
          : { ...variable, current: { selected: true, text: [value], value: [value] } };
      }),
    },
  });
  // A single letter that isn't Latin doubles the bytes of a text in memory.
  return kept.replace(/[^\x20-\x7e]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Short, since Grafana takes uids of 40 characters at most; the same for a cluster that is made anew. */
function idOf({ metadata: { namespace, name } }: PushCluster): string {
  return createHash('sha256').update(`${namespace}/${name}`).digest('hex').slice(0, 12);
}
