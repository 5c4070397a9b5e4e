import { gzipSync } from 'node:zlib';
import { assembled, CHOICE, type Choice, statements } from './bundle.ts';

/**
 * `node client/trial.ts [SECONDS]`: looks for the choice with which the bundle is smallest (simulated annealing), and prints
 * it for bundle.ts. The result depends on the speed of the machine: it is not part of the build.
 */

const MS = Number(process.argv[2] ?? 60) * 1_000;
const LETTERS = 'teaonlisyhpmfdrgcvjwqbkuxzSEMRTALPNOCUIDHFGJBVKWQXYZ$';

const parts = await statements();
/** Statements that are evaluated when the module is loaded, and what they need before. */
const needs = parts.map((text) => {
  const names = [...text.matchAll(/ extends (Z\d+Z)/g)].map(([, name]) => name!);
  if (!text.includes('class')) names.push(...[...text.matchAll(/\[(Z\d+Z)\./g)].map(([, name]) => name!));
  return names.map((name) => parts.findIndex((other) => new RegExp(`^(var|class) ${name}\\b`).test(other)));
});

function moved<Item>(items: readonly Item[], end = items.length): Item[] {
  const result = [...items];
  const [item] = result.splice(Math.floor(Math.random() * end), 1);
  result.splice(Math.floor(Math.random() * end), 0, item!);
  return result;
}

function swapped(text: string): string {
  const letters = [...text];
  const [i, j] = [0, 0].map(() => Math.floor(Math.random() * letters.length)) as [number, number];
  [letters[i], letters[j]] = [letters[j]!, letters[i]!];
  return letters.join('');
}

function changed(choice: Choice): Choice {
  const kind = Math.random();
  if (kind < 0.3) return { ...choice, local: swapped(choice.local) };
  if (kind < 0.5) return { ...choice, short: swapped(choice.short) };
  if (kind < 0.6) return { ...choice, short: moved([...choice.short]).join('') };
  // The last one is the export.
  return { ...choice, order: moved(choice.order, parts.length - 1) };
}

const isValid = ({ order }: Choice) =>
  needs.every((before, i) => before.every((other) => order.indexOf(other) < order.indexOf(i)));
const sizeOf = (choice: Choice) => gzipSync(assembled(parts, choice), { level: 9 }).length;

const plain: Choice = { short: LETTERS, local: LETTERS, order: parts.map((_, i) => i) };
// From the present choice, if that is still one.
let current = CHOICE.order.length === parts.length && isValid(CHOICE) ? CHOICE : plain;
let size = sizeOf(current);
let [best, least] = [current, size];
const began = performance.now();
for (let left = 1; left > 0; left = 1 - (performance.now() - began) / MS) {
  const next = changed(current);
  if (!isValid(next)) continue;
  const nextSize = sizeOf(next);
  // Bytes that the bundle may grow by, now and then: fewer and fewer.
  if (nextSize > size && Math.random() > Math.exp((size - nextSize) / (2 * left))) continue;
  [current, size] = [next, nextSize];
  if (size < least) [best, least] = [current, size];
}
console.log(`${least} bytes`, JSON.stringify(best));
