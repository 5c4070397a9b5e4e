import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { CHART_CRD_FILE, CRD_FILE, crdText } from './api/crd.ts';
import { RULES_FILES } from './rbac.ts';
import { CHANGES_FILE, changesText } from './reference/changesPage.ts';
import { REFERENCE_FILE, referenceText } from './reference/pushClusterPage.ts';

/**
 * `npm run crd -w @pushcluster/operator`: writes the CRD, its reference pages, and the chart's copies of the CRD and
 * RBAC rules.
 */

const root = new URL('../', import.meta.url);
for (const [file, text] of [
  [CRD_FILE, crdText()],
  [CHART_CRD_FILE, crdText()],
  [REFERENCE_FILE, referenceText()],
  [CHANGES_FILE, changesText()],
  ...RULES_FILES,
] as const) {
  const path = new URL(file, root).pathname;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  console.log(`wrote ${file}`);
}
