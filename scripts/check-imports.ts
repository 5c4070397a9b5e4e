import { globSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, normalize } from 'node:path';
import { importCircles } from './importCircles.ts';

/** `node scripts/check-imports.ts`: checks that imports point down the layers, use package names and form no circle. */

/** The workspaces, and the workspaces below each that it may import. */
const LAYERS: Record<string, readonly string[]> = {
  protocol: [],
  runtime: ['protocol'],
  client: ['protocol'],
  gateway: ['protocol', 'runtime', 'client'],
  logic: ['protocol', 'runtime'],
  operator: ['protocol', 'runtime'],
  standalone: ['protocol', 'runtime', 'gateway', 'logic'],
  test: ['protocol', 'runtime', 'client', 'gateway', 'logic', 'operator', 'standalone'],
};

/** Folders inside a workspace, and the folders beside them that each must not import. Tests may. */
const BARRED: Record<string, readonly string[]> = {
  'gateway/ipc/': ['gateway/hub/', 'gateway/shard/', 'gateway/moves/', 'gateway/admission/'],
  'gateway/admission/': ['gateway/hub/', 'gateway/shard/'],
  'gateway/hub/': ['gateway/shard/'],
  'gateway/shard/': ['gateway/hub/'],
};

/**
 * Packages that only one file or folder may import, so that their pitfalls are handled in one place. Tests may import
 * them, too.
 */
const SOLE_IMPORTERS: Record<string, string> = {
  'uWebSockets.js': 'gateway/shard/listener.ts',
  nats: 'runtime/bus/',
  '@nats-io/nkeys': 'runtime/bus/',
};

/** Files of the protocol that the SDK may import. It has no dependencies, so these import no package. */
const CLIENT_MAY_IMPORT = ['closeCodes.ts', 'names.ts', 'frames.ts', 'fullJitter.ts', 'wireForms.ts'];

/** Tools that build the SDK's bundle; they are not part of it. */
const CLIENT_TOOLS = ['client/build.ts', 'client/bundle.ts', 'client/trial.ts'];

const SCOPE = '@pushcluster/';

type Workspace = { dependencies: readonly string[] };

if (import.meta.main) {
  const workspaces = new Map<string, Workspace>();
  for (const path of globSync('*/package.json')) {
    const manifest = JSON.parse(readFileSync(path, 'utf8')) as Record<string, Record<string, string> | undefined>;
    workspaces.set(dirname(path), {
      dependencies: Object.keys({ ...manifest.dependencies, ...manifest.devDependencies }),
    });
  }
  const problems = importProblems(sources(), workspaces);
  for (const problem of problems) console.log(`  ${problem}`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}

/** The sources of all workspaces, by path from the root. */
function sources(): Map<string, string> {
  const files = new Map<string, string>();
  for (const path of globSync(`{${Object.keys(LAYERS).join(',')}}/**/*.ts`, {
    exclude: (name) => name === 'node_modules' || name === 'dist',
  }))
    files.set(path, readFileSync(path, 'utf8'));
  return files;
}

/**
 * What is wrong with the imports of `files` (path from the root → source), a sentence each.
 * @param workspaces the workspaces' declared dependencies, by folder
 */
export function importProblems(
  files: ReadonlyMap<string, string>,
  workspaces: ReadonlyMap<string, Workspace>,
): string[] {
  const problems = circleProblems(files);
  for (const [path, source] of files) {
    for (const { specifier, line } of importsOf(source)) {
      const problem = importProblem(path, specifier, files, workspaces);
      if (problem !== undefined) problems.push(`${path}:${line}: ${specifier}: ${problem}`);
    }
  }
  return problems;
}

/** Circles of imports, types included: to understand one file of a circle, one must read all of them. */
function circleProblems(files: ReadonlyMap<string, string>): string[] {
  return importCircles(importGraph(files)).map(
    (circle) => `${[...circle, circle[0]].join(' → ')}: a circle of imports: move what they share into a file below`,
  );
}

/** The imports of each of `files` among `files`. */
function importGraph(files: ReadonlyMap<string, string>): Map<string, string[]> {
  const graph = new Map<string, string[]>();
  for (const [path, source] of files) {
    const targets = importsOf(source).map(({ specifier }) => targetOf(path, specifier));
    graph.set(
      path,
      targets.filter((target): target is string => target !== undefined && files.has(target)),
    );
  }
  return graph;
}

/** The file that `specifier` names in `path`; undefined if it names a package or a module of Node. */
function targetOf(path: string, specifier: string): string | undefined {
  if (specifier.startsWith('.')) return normalize(join(dirname(path), specifier));
  return specifier.startsWith(SCOPE) ? specifier.slice(SCOPE.length) : undefined;
}

function barred(path: string, target: string): string | undefined {
  for (const [folder, others] of Object.entries(BARRED)) {
    const other = path.startsWith(folder) ? others.find((each) => target.startsWith(each)) : undefined;
    if (other !== undefined) return `${folder} must not import ${other}`;
  }
  return undefined;
}

function importProblem(
  path: string,
  specifier: string,
  files: ReadonlyMap<string, string>,
  workspaces: ReadonlyMap<string, Workspace>,
): string | undefined {
  const layer = path.split('/', 1)[0]!;
  const isTest = layer === 'test' || path.endsWith('.test.ts');
  const isSdk = layer === 'client' && !isTest && !CLIENT_TOOLS.includes(path);
  if (isBuiltin(specifier)) {
    if (!specifier.startsWith('node:')) return `write node:${specifier}`;
    if (isSdk) return 'the SDK runs in browsers: no module of Node';
    return layer === 'protocol' && !isTest ? 'the protocol is for browsers too: no module of Node' : undefined;
  }
  if (specifier.startsWith('.')) {
    const target = normalize(join(dirname(path), specifier));
    if (target.split('/', 1)[0] !== layer) return `leaves the workspace: import it as ${SCOPE}${target}`;
    if (isSdk && CLIENT_TOOLS.includes(target)) return 'is a tool that makes the bundle, no part of the SDK';
    if (target.endsWith('.ts') && !files.has(target)) return 'there is no such file';
    return isTest ? undefined : barred(path, target);
  }
  if (specifier.startsWith(SCOPE)) {
    const target = specifier.slice(SCOPE.length);
    const [below, ...rest] = target.split('/');
    if (below === layer) return 'inside a workspace imports are relative';
    const allowed = isTest ? [...(LAYERS[layer] ?? []), 'test'] : (LAYERS[layer] ?? []);
    if (!allowed.includes(below!))
      return `${layer} may import ${allowed.join(', ') || 'no other workspace'}, not ${below}: layers only point down`;
    if (isSdk && !CLIENT_MAY_IMPORT.includes(rest.join('/')))
      return `the SDK takes only ${CLIENT_MAY_IMPORT.join(', ')} from the protocol`;
    return undefined;
  }
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
  if (isSdk) return 'the SDK has no dependencies';
  const sole = SOLE_IMPORTERS[name];
  if (sole !== undefined && !path.startsWith(sole) && layer !== 'test') return `only ${sole} may import it`;
  // Tests and the bench compare the product with packages of its workspaces.
  const declared = isTest ? [...workspaces.values()] : [workspaces.get(layer)];
  if (!declared.some((workspace) => workspace?.dependencies.includes(name)))
    return `is no dependency in ${layer}/package.json`;
  if (layer === 'protocol' && !isTest && name !== 'zod') return 'the protocol imports zod only';
  return undefined;
}

/** The specifiers that a formatted source imports, statically and not, types included. */
export function importsOf(source: string): { specifier: string; line: number }[] {
  const found: { specifier: string; line: number }[] = [];
  const code = source.replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ' '));
  const patterns = [
    /^(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]/gm,
    /^import\s*['"]([^'"]+)['"]/gm,
    /(?<!\/\/.*)\b(?:import|require|require\.resolve)\(\s*['"]([^'"]+)['"]/g,
  ];
  for (const pattern of patterns)
    for (const match of code.matchAll(pattern))
      found.push({ specifier: match[1]!, line: code.slice(0, match.index).split('\n').length });
  return found.sort((a, b) => a.line - b.line);
}
