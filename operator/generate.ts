import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { CRD_FILE, crdText } from './api/crd.ts';
import { REFERENCE_FILE, referenceText } from './api/reference.ts';
import { CHANGES_FILE, changesText } from './pushcluster/changes.ts';

/** `npm run crd -w @pushcluster/operator`: writes the CRD and the pages about it, all made of the schema. */

const root = new URL('../', import.meta.url);
for (const [file, text] of [
  [CRD_FILE, crdText()],
  [REFERENCE_FILE, referenceText()],
  [CHANGES_FILE, changesText()],
] as const) {
  const path = new URL(file, root).pathname;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  console.log(`wrote ${file}`);
}
