import { hash } from 'node:crypto';
import type { Target } from '@pushcluster/protocol/api.ts';

/**
 * What bus messages carry for the `id` of a request: the same for each retry of it, through whatever logic process, and
 * for nothing else. A digest of the API key's name, the targets and the id: as one JSON array, so that no choice of
 * names and ids makes two different requests alike. The order in which targets are listed, and one listed twice, make
 * no other request; items don't count.
 *
 * @param key name of the API key; undefined where none is needed
 * @returns 22 characters of base64url (132 bits of SHA-256); '' where `id` is ''
 */
export function requestId(key: string | undefined, target: Target, id: string): string {
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
