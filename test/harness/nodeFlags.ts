import { readFileSync } from 'node:fs';

/** Flags of Node with which the image of a role starts it. */
export function nodeFlags(role: 'gateway' | 'logic' | 'operator'): string[] {
  const dockerfile = readFileSync(new URL('../../Dockerfile', import.meta.url), 'utf8');
  const found = new RegExp(`^ENTRYPOINT \\["node", (.*)"${role}/main\\.js"\\]$`, 'm').exec(dockerfile)?.[1];
  if (found === undefined) throw new Error(`the Dockerfile does not start ${role}`);
  return [...found.matchAll(/"([^"]+)"/g)].map(([, flag]) => flag!);
}
