import { hash } from 'node:crypto';
import type { Target } from '@pushcluster/protocol/api.ts';

/**
 * The idempotency key that bus messages carry: gateways drop a message whose key they have seen within two minutes. It is
 * the same for each retry of a request, through any logic process, and differs for any other request.
 *
 * It is a digest of the API key's name, the targets and the request's `id`, as one JSON array: no choice of names and ids
 * makes two requests alike. Targets count as a set, in any order. Items are not part of it. A message that is stored in the
 * history of a room carries the key of a request to that room alone, whichever others its request names.
 *
 * @param key name of the API key; undefined if none is configured
 * @returns 22 characters of base64url (132 bits of SHA-256); '' if `id` is ''
 */
export function idempotencyKey(key: string | undefined, target: Target, id: string): string {
  if (id === '') return '';
  return hash('sha256', JSON.stringify([key ?? null, ...namesOf(target), id]), 'base64url').slice(0, 22);
}

function namesOf(target: Target): [kind: string, names: string[]] {
  switch (target.type) {
    case 'all':
      return ['all', []];
    case 'room':
      return ['room', [target.room]];
    case 'user':
      return ['user', [target.user]];
    case 'rooms':
      return ['rooms', [...new Set(target.rooms)].sort()];
    case 'users':
      return ['users', [...new Set(target.users)].sort()];
  }
}
