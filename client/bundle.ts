import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { minify } from 'terser';

/**
 * Properties that only the SDK's own objects use, by the kind of object: the bundle gives them short names. Two that no kind has
 * in common may share one, since what repeats compresses well. Never add a name that pages, or objects of the platform, use
 * too, and name a property under each kind that has it.
 */
const INTERNAL = [
  // Connection
  'leaving ready held isOpen openedAt leaveBy overlap heardAt heardWall owner start request probe serves later say quit',
  // Reconnector
  'line connect online retryDelay opened received closed step',
  // ReconnectorOwner and RoomOwner
  'streams streamOf ended remove',
  // Emitter, Subscription, HistorySubscription and RoomSubscription
  `emit end ended config opened admit receive finish deliver take source request answered follow pause restart save rejoin
  leaveOn tries`,
  // How current a history is
  'heardAt heardWall',
  // What is missing of it
  'until place',
  // Config
  'events',
  // Positions, what they tell, and what they remember of a publisher
  'resume advance',
  'repeats',
  'end until paused',
  // Queue
  'end discard',
  // TokenBucket
  'wait take',
].map((names) => names.split(/\s+/));

/** The order was found by trial: this one compresses best. */
const SHORT = [...'selhafcitrmSgpuywxRnNB'];

function shortNames(): Record<string, string> {
  const short: Record<string, string> = {};
  for (const name of new Set(INTERNAL.flat())) {
    const beside = new Set(INTERNAL.filter((names) => names.includes(name)).flat());
    const taken = [...beside].map((other) => short[other]);
    short[name] = SHORT.find((letter) => !taken.includes(letter))!;
  }
  return short;
}

/** The whole SDK as one minified ECMAScript module, for browsers of the last three years and Node 22. */
export async function bundle(): Promise<string> {
  const mangleCache = shortNames();
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('index.ts', import.meta.url))],
    bundle: true,
    minify: true,
    mangleProps: new RegExp(`^(${Object.keys(mangleCache).join('|')})$`),
    mangleCache,
    format: 'esm',
    target: ['es2022', 'chrome110', 'firefox115', 'safari16.4'],
    // All of these have them: what is left unused can then be left out.
    supported: { 'regexp-unicode-property-escapes': true },
    legalComments: 'none',
    write: false,
    logLevel: 'silent',
  });
  // esbuild gives each variable in a function within a function a name of its own. terser uses names again: 40 bytes less.
  const { code } = await minify(outputFiles[0]!.text, { module: true, compress: false });
  return code!;
}
