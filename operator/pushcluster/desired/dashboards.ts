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

/** The dashboards of the chart. The operator's image has them at the same path. */
const FOLDER = new URL('../../../charts/pushcluster/dashboards/', import.meta.url);
/** The label that Grafana's sidecar selects by default. */
const SIDECAR_LABEL = { grafana_dashboard: '1' };
/** Placeholders for the namespace, the name and the uid of a cluster. */
const [NAMESPACE, NAME, ID] = ['@NAMESPACE@', '@NAME@', '@ID@'];
const PLACES = new RegExp([NAMESPACE, NAME, ID].join('|'), 'g');
const TITLE = 'PushCluster / ';

/** The fields of a dashboard that are changed. Others are kept. */
const Dashboard = z.looseObject({
  uid: z.string(),
  title: z.string().startsWith(TITLE),
  tags: z.array(z.string()),
  links: z.array(z.looseObject({ tags: z.array(z.string()) })),
  templating: z.looseObject({ list: z.array(z.looseObject({ name: z.string() })) }),
});

let texts: ReadonlyMap<string, string> | undefined;

/**
 * A ConfigMap for each dashboard of the chart, with this cluster selected by their variables. Uid, title, file name and
 * links are unique to the cluster, so that one Grafana can show those of several clusters and of the chart.
 */
export function dashboards(cluster: PushCluster): Dashboards[] {
  const { enabled, labels, annotations } = cluster.spec.monitoring.dashboards;
  if (!enabled) return [];
  const { namespace, name } = cluster.metadata;
  const places: Record<string, string> = { [NAMESPACE]: namespace, [NAME]: name, [ID]: idOf(cluster) };
  return [...dashboardTexts()].map(([title, text]) => {
    const metadata = metadataOf(cluster, `${names(cluster).dashboard}-${title}`, 'dashboards', {
      labels: { ...SIDECAR_LABEL, ...labels },
      annotations,
    });
    const own = text.replace(PLACES, (place) => places[place] ?? place);
    return {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata,
      // The sidecar stores all files in one folder. Names of namespaces and PushClusters contain no dots.
      data: { [`pushcluster.${namespace}.${name}.${title}.json`]: own },
    };
  });
}

/**
 * The dashboards as JSON with placeholders, by title. One text serves all clusters, of which an operator may have
 * hundreds.
 */
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
  // V8 uses two bytes per character for strings with any non-Latin character.
  return kept.replace(/[^\x20-\x7e]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Short, since Grafana limits uids to 40 characters. The same if a cluster is deleted and created again. */
function idOf({ metadata: { namespace, name } }: PushCluster): string {
  return createHash('sha256').update(`${namespace}/${name}`).digest('hex').slice(0, 12);
}
