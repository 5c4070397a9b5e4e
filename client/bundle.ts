import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/**
 * Properties that only the SDK's own classes use: the bundle gives them short names. Never add a name that pages, or objects of
 * the platform, use too.
 */
const INTERNAL = `
  admit advance answered closed connect connection connections covers discard dropOldest deadline dropRepeats emit end ended failures follow
  handover heardAt heardWall held heldSince keep lagged leaveBy leaveOn leaving left listener lost moved online opened openedAt overlap
  pause paused probe queue queues quit readyAt receive received reconnector rejoin release remove repeats request restart resume retryDelay setReady source
  start step streams streamOf take until wait`;

/** The whole SDK as one minified ECMAScript module, for browsers of the last three years and Node 22. */
export async function bundle(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('index.ts', import.meta.url))],
    bundle: true,
    minify: true,
    mangleProps: new RegExp(`^(${INTERNAL.trim().split(/\s+/).join('|')})$`),
    format: 'esm',
    target: ['es2022', 'chrome110', 'firefox115', 'safari16.4'],
    legalComments: 'none',
    write: false,
    logLevel: 'silent',
  });
  return outputFiles[0]!.text;
}
