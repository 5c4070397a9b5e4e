import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { CRD_FILE, crdText } from './crd.ts';
import { REFERENCE_FILE, referenceText } from './reference.ts';

/** `npm run crd -w @pushcluster/operator`: writes the CRD and its reference page, both made of the schema. */

const root = new URL('../../', import.meta.url);
for (const [file, text] of [
  [CRD_FILE, crdText()],
  [REFERENCE_FILE, referenceText()],
] as const) {
  const path = new URL(file, root).pathname;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  console.log(`wrote ${file}`);
}
