/**
 * Circles of an import graph (file → files that it imports): for each group of files that reach one another, the shortest
 * circle through its first file in alphabetical order, such as `['a.ts', 'b.ts']`.
 */
export function importCircles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const circles: string[][] = [];
  const seen = new Set<string>();
  for (const file of [...graph.keys()].sort()) {
    if (seen.has(file)) continue;
    const circle = shortestCircle(graph, file);
    if (!circle) continue;
    circles.push(circle);
    for (const other of groupOf(graph, file)) seen.add(other);
  }
  return circles;
}

/** The shortest way from `file` back to itself; undefined if there is none. */
function shortestCircle(graph: ReadonlyMap<string, readonly string[]>, file: string): string[] | undefined {
  const cameFrom = new Map<string, string>();
  const queue = [file];
  for (const from of queue) {
    for (const to of graph.get(from) ?? []) {
      if (to === file) return pathTo(from, cameFrom);
      if (cameFrom.has(to)) continue;
      cameFrom.set(to, from);
      queue.push(to);
    }
  }
  return undefined;
}

function pathTo(file: string, cameFrom: ReadonlyMap<string, string>): string[] {
  const path = [file];
  for (let at = cameFrom.get(file); at !== undefined; at = cameFrom.get(at)) path.unshift(at);
  return path;
}

/** The files that `file` reaches and that reach it. */
function groupOf(graph: ReadonlyMap<string, readonly string[]>, file: string): string[] {
  return [...reachable(graph, file)].filter((other) => reachable(graph, other).has(file));
}

function reachable(graph: ReadonlyMap<string, readonly string[]>, file: string): Set<string> {
  const found = new Set<string>();
  const queue = [file];
  for (const from of queue)
    for (const to of graph.get(from) ?? [])
      if (!found.has(to)) {
        found.add(to);
        queue.push(to);
      }
  return found;
}
