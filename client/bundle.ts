import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/** Properties that only the SDK's own classes know: their names take room, and nobody outside may rely on them. */
const INTERNAL = [
  ...[
    'admit',
    'advance',
    'closed',
    'connect',
    'connection',
    'covers',
    'deliver',
    'discard',
    'failed',
    'failures',
    'feed',
    'gap',
  ],
  ...[
    'held',
    'heldItems',
    'online',
    'joining',
    'lagged',
    'leaveBy',
    'leaveOn',
    'leaving',
    'left',
    'reconnector',
    'listener',
  ],
  ...['moved', 'opened', 'openedAt', 'overlap', 'paused', 'probe', 'queue', 'queues', 'readyAt', 'received', 'refused'],
  ...['repeats', 'request', 'resume', 'rooms', 'start', 'take', 'until', 'wait', 'wire'],
];

/** The whole SDK as one minified ECMAScript module, for browsers of the last three years and Node 22. */
export async function bundle(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('index.ts', import.meta.url))],
    bundle: true,
    minify: true,
    mangleProps: new RegExp(`^(${INTERNAL.join('|')})$`),
    format: 'esm',
    target: ['es2022', 'chrome110', 'firefox115', 'safari16.4'],
    legalComments: 'none',
    write: false,
    logLevel: 'silent',
  });
  return outputFiles[0]!.text;
}
