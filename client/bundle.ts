import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { type MinifyOptions, type MinifyOutput, minify } from 'terser';

/** Of terser, whose types lack it. */
type Parsed = MinifyOutput & { ast: { body: { print_to_string(options: object): string }[] } };

/**
 * Properties that only the SDK's own objects use, by the kind of object: the bundle gives them short names. Two that no kind has
 * in common may share one, since what repeats compresses well. Never add a name that pages, or objects of the platform, use
 * too, and name a property under each kind that has it.
 */
const INTERNAL = [
  // Connection
  `leaving ready held isOpen openedAt leaveBy overlap heardAt heardWall owner start request probe serves later say quit
  turn pause`,
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
  'end discard shorten',
  // TokenBucket
  'wait take',
].map((names) => names.split(/\s+/));

/** What does not change what the code does, only how well it compresses. */
export type Choice = {
  /** Letters for the properties of INTERNAL. */
  short: string;
  /** Letters for variables and private members. The first is for the name that terser counts most often. */
  local: string;
  /** Numbers of the statements of the module. */
  order: number[];
};

/** Found by `node client/trial.ts`. If the number of statements changes, run it again. */
export const CHOICE: Choice = {
  short: 'setohfrdEipgvnmubaOlkHWUNAMLKq$JzjDCISFBPZQTXGRyxYcwV',
  local: 'steoalndrEiybcgNBfpOLuhSkMvwxmTCRDP$HAYWJIqKjXFGVQZUz',
  order: [
    32, 31, 5, 28, 4, 13, 30, 8, 20, 24, 16, 25, 9, 21, 17, 12, 14, 26, 27, 19, 2, 15, 18, 23, 3, 10, 1, 11, 7, 22, 29,
    0, 6, 33,
  ],
};

/** The minified statements. `Q1Q` stands for a name of INTERNAL, `Z1Z` for a variable or private member. */
export async function statements(): Promise<string[]> {
  const names = [...new Set(INTERNAL.flat())];
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('index.ts', import.meta.url))],
    bundle: true,
    minify: true,
    mangleProps: new RegExp(`^(${names.join('|')})$`),
    mangleCache: Object.fromEntries(names.map((name, i) => [name, `Q${i}Q`])),
    format: 'esm',
    target: ['es2022', 'chrome110', 'firefox115', 'safari16.4'],
    // All of these have them: what is left unused can then be left out.
    supported: { 'regexp-unicode-property-escapes': true },
    legalComments: 'none',
    write: false,
    logLevel: 'silent',
  });
  // esbuild gives each variable in a function within a function a name of its own. terser uses names again.
  const { ast } = (await minify(outputFiles[0]!.text, {
    module: true,
    ecma: 2022,
    compress: {
      passes: 2,
      unsafe: true,
      sequences: false,
      conditionals: false,
      lhs_constants: false,
      join_vars: false,
    },
    mangle: { nth_identifier: { get: (n) => `Z${n}Z` } },
    format: { ast: true, code: false },
  } as MinifyOptions)) as Parsed;
  return ast.body.map((statement) => {
    const text = statement.print_to_string({ ecma: 2022 });
    return /^(function|class)|;$/.test(text) ? text : `${text};`;
  });
}

/** The statements as one module. */
export function assembled(parts: readonly string[], { short, local, order }: Choice): string {
  if (order.length !== parts.length) throw new Error(`${parts.length} statements: run client/trial.ts`);
  const letters = shortNames(short);
  const text = order.map((i) => parts[i]).join('');
  return text.replace(/([QZ])(\d+)\1/g, (_, kind, i) => (kind === 'Q' ? letters : local)[Number(i)]!);
}

/** A letter for each name of INTERNAL: the first that no name of the same kinds has. */
function shortNames(short: string): string[] {
  const names = [...new Set(INTERNAL.flat())];
  const taken = INTERNAL.map(() => new Set<string>());
  return names.map((name) => {
    const kinds = taken.filter((_, i) => INTERNAL[i]!.includes(name));
    const letter = [...short].find((each) => kinds.every((kind) => !kind.has(each)))!;
    for (const kind of kinds) kind.add(letter);
    return letter;
  });
}

/** The whole SDK as one minified ECMAScript module, for browsers of the last three years and Node 22. */
export async function bundle(): Promise<string> {
  return assembled(await statements(), CHOICE);
}
