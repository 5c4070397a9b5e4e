import { cpSync, globSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';

/** A whole string literal such as './shard.ts', '../hub/hub.ts' or '@pushcluster/protocol/frames.ts'. */
const OWN_SOURCE = /(['"])((?:\.{1,2}|@pushcluster)\/[\w./-]+)\.ts\1/g;

/**
 * `node scripts/strip.ts OUT FOLDER ...`: copies folders to OUT with TypeScript converted to JavaScript. A process then
 * starts in half the time and uses a third less memory than if Node strips types at each start. Lines and columns stay
 * the same, so that stack traces match the sources.
 */
if (import.meta.main) {
  const [out, ...folders] = process.argv.slice(2);
  if (out === undefined || folders.length === 0) {
    process.stderr.write('usage: node scripts/strip.ts OUT FOLDER ...\n');
    process.exit(2);
  }
  for (const folder of folders) strip(folder, join(out, folder));
}

export function strip(from: string, to: string): void {
  cpSync(from, to, { recursive: true, filter: (path) => !/(^|\/)(node_modules|dist)$|\.test\.ts$/.test(path) });
  for (const path of globSync('**/*.ts', { cwd: to })) {
    const file = join(to, path);
    if (!path.endsWith('.d.ts')) writeFileSync(file.replace(/\.ts$/, '.js'), javaScriptOf(readFileSync(file, 'utf8')));
    rmSync(file);
  }
}

/** The module as JavaScript, without types. Names of the project's sources in imports and URLs end with .js. */
export function javaScriptOf(typeScript: string): string {
  return stripTypeScriptTypes(typeScript, { mode: 'strip' }).replace(OWN_SOURCE, '$1$2.js$1');
}
