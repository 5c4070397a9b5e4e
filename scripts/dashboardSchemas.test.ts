import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { z } from 'zod';
import { checkedIn, DASHBOARDS } from './dashboards.ts';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '..');
/** Packages with the schemas of Grafana, by its major version, and how the files of their types end. */
const SCHEMAS = {
  11: { schema: '@grafana/schema', types: '.d.ts' },
  12: { schema: 'grafana-schema-12', types: '' },
  13: { schema: 'grafana-schema-13', types: '' },
};
/** The kinds of panels that we use, and what their schemas are named after. */
const KINDS: Record<string, string> = { timeseries: 'TimeSeries', stat: 'Stat', table: 'Table', heatmap: 'Heatmap' };

/** Fields of annotations that are the data source's own: they are in no schema. */
const OF_PROMETHEUS = ['expr', 'step', 'titleFormat', 'useValueForTime'];

const Panel = z.looseObject({
  type: z.string(),
  options: z.unknown().optional(),
  fieldConfig: z.looseObject({ defaults: z.looseObject({ custom: z.unknown().optional() }) }).optional(),
});
const Dashboard = z.looseObject({
  panels: z.array(Panel).min(1),
  annotations: z
    .looseObject({
      list: z.array(z.looseObject({})).default([]),
    })
    .optional(),
});

/** The compiler judges the JSON that is checked in, as a literal: it knows every key, and refuses those it doesn't know. */
describe("the dashboards, by the schemas of Grafana's versions", () => {
  // In the checkout: the schemas are found from here.
  mkdirSync(join(ROOT, '.build'), { recursive: true });
  const folder = mkdtempSync(join(ROOT, '.build/dashboards-'));
  after(() => rmSync(folder, { recursive: true }));

  /** What the compiler says of a program, by line. */
  async function errorsOf(name: string, program: string): Promise<string[]> {
    writeFileSync(join(folder, name), program);
    const options = ['--ignoreConfig', '--strict', '--noEmit', '--skipLibCheck', '--target', 'es2022', '--types', ''];
    const modules = ['--module', 'esnext', '--moduleResolution', 'bundler'];
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    return run(process.execPath, [tsc, ...options, ...modules, join(folder, name)], { cwd: ROOT }).then(
      () => [],
      (error: { stdout: string }) => error.stdout.trim().split('\n'),
    );
  }

  for (const [version, { schema, types }] of Object.entries(SCHEMAS)) {
    for (const name of Object.keys(DASHBOARDS))
      it(`${name} is valid in Grafana ${version}`, async () => {
        const program = programOf(checkedIn(name), schema, types);
        assert.deepEqual(await errorsOf(`${version}-${name.replace('json', 'ts')}`, program), []);
      });

    it(`a key that Grafana ${version} does not know is found, in each part`, async () => {
      const text = checkedIn('overview.json');
      const wrong = [
        text.replace('"schemaVersion"', '"schemaversion"'),
        text.replace('"gridPos"', '"gridpos"'),
        text.replace('"lineWidth"', '"linewidth"'),
        text.replace('"showLegend": true', '"showLegend": "yes"'),
        text.replace('"graphMode"', '"graphmode"'),
      ];
      for (const [index, each] of wrong.entries()) {
        assert.notEqual(each, text, `replacement ${index}`);
        assert.notDeepEqual(await errorsOf(`${version}-wrong${index}.ts`, programOf(each, schema, types)), []);
      }
    });
  }
});

/** A program that assigns each part of a dashboard to its type. */
function programOf(text: string, schema: string, types: string): string {
  const { panels, annotations, ...rest } = Dashboard.parse(JSON.parse(text));
  const list = annotations?.list.map((annotation) =>
    Object.fromEntries(Object.entries(annotation).filter(([key]) => !OF_PROMETHEUS.includes(key))),
  );
  const parts = [
    part('Dashboard', annotations === undefined ? rest : { ...rest, annotations: { ...annotations, list } }),
  ];
  for (const { options, fieldConfig, ...panel } of panels) {
    if (panel.type === 'row') {
      parts.push(part('RowPanel', panel));
      continue;
    }
    assert.ok(fieldConfig && KINDS[panel.type], `panels of type ${panel.type}`);
    const { custom, ...defaults } = fieldConfig.defaults;
    parts.push(part('Panel', { ...panel, fieldConfig: { ...fieldConfig, defaults } }));
    parts.push(part(`${panel.type}.Options`, options));
    if (custom !== undefined) parts.push(part(`${panel.type}.FieldConfig`, custom));
  }
  const kinds = Object.entries(KINDS).map(
    ([kind, name]) =>
      `import type * as ${kind} from '${schema}/dist/esm/raw/composable/${kind}/panelcfg/x/${name}PanelCfg_types.gen${types}';`,
  );
  return [
    `import type { Dashboard, Panel, RowPanel } from '${schema}';`,
    ...kinds,
    // An enum of strings is a string in JSON.
    `type Json<T> = T extends string ? \`\${T}\` : T extends readonly (infer Each)[] ? Json<Each>[]`,
    '  : T extends object ? { [Key in keyof T]: Json<T[Key]> } : T;',
    ...parts.map((text, index) => `export const part${index}${text}`),
  ].join('\n');
}

function part(type: string, value: unknown): string {
  return `: Json<${type}> = ${JSON.stringify(value)};`;
}
