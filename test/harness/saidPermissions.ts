import { readFileSync } from 'node:fs';
import type { Permissions } from './natsAccounts.ts';

type Roles = Record<'gateway' | 'logic', { publish: string[]; subscribe: string[] }>;

/**
 * The permissions that examples/external-nats.yaml says the roles need, those of rooms with history included. `S` and `P`
 * stand for the stream and the prefix, unless these are given.
 */
export function saidPermissions(P = 'P', S = 'S'): Record<keyof Roles, Permissions> {
  const text = readFileSync(new URL('../../examples/external-nats.yaml', import.meta.url), 'utf8');
  const said: Roles = { gateway: { publish: [], subscribe: [] }, logic: { publish: [], subscribe: [] } };
  let role: keyof Roles = 'gateway';
  let way: 'publish' | 'subscribe' = 'publish';
  for (const line of text.split('\n')) {
    const [, who, does, subjects] = /^# {3,}(gateway|logic)? *(publish|subscribe)? +((?:P|\$JS)\..*)$/.exec(line) ?? [];
    if (subjects === undefined) continue;
    role = (who ?? role) as typeof role;
    way = (does ?? way) as typeof way;
    const real = (subject: string) => subject.replace(/^P\./, `${P}.`).replace(/\.S$/, `.${S}`);
    said[role][way].push(...subjects.split(/ +/).map(real));
  }
  return said;
}
