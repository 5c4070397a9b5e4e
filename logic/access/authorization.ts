import type { Target } from '@pushcluster/protocol/api.ts';
import { matches } from '@pushcluster/protocol/pattern.ts';
import type { ApiKey } from '@pushcluster/protocol/settings.ts';
import type { z } from 'zod';
import { Problem } from '../errors/problem.ts';

/** What an API key may do: settings `logic.apiKeys[].scope`. */
export type Scope = NonNullable<z.infer<typeof ApiKey>['scope']>;

/** Who makes a request. A caller without a scope may do everything. */
export type Caller = { name: string; scope: Scope | undefined };

/** What a request is about to do: push to a target, disconnect, read who is online, or read a room's history. */
export type Action =
  | Target
  | { type: 'disconnect_user'; user: string }
  | { type: 'disconnect_room'; room: string }
  | { type: 'read' }
  | { type: 'history'; room: string };

/**
 * Throws Problem forbidden if the scope of `caller` does not allow `action`; its sentence names what the scope lacks.
 * Throws Problem unauthorized if there is no caller.
 */
export function authorize(caller: Caller | null, action: Action): void {
  if (!caller) throw unauthorized('Send the header Authorization: Bearer with an API key.', '');
  const lack = caller.scope === undefined ? undefined : lackOf(caller.scope, action);
  if (lack !== undefined)
    throw new Problem('forbidden', `The API key "${caller.name}" is not allowed to do this: ${lack}.`);
}

/** The Problem that asks for an API key. @param parameter of the WWW-Authenticate header, such as `, error="invalid_token"` */
export function unauthorized(detail: string, parameter: string): Problem {
  return new Problem('unauthorized', detail, {
    headers: { 'www-authenticate': `Bearer realm="pushcluster"${parameter}` },
  });
}

function lackOf(scope: Scope, action: Action): string | undefined {
  switch (action.type) {
    case 'all':
      return scope.all ? undefined : 'its scope lacks all';
    case 'room':
      return unmatched('rooms', scope.rooms, [action.room]);
    case 'rooms':
      return unmatched('rooms', scope.rooms, action.rooms);
    case 'user':
      return unmatched('users', scope.users, [action.user]);
    case 'users':
      return unmatched('users', scope.users, action.users);
    case 'disconnect_user':
      return scope.disconnect ? unmatched('users', scope.users, [action.user]) : 'its scope lacks disconnect';
    case 'disconnect_room':
      return scope.disconnect ? unmatched('rooms', scope.rooms, [action.room]) : 'its scope lacks disconnect';
    case 'read':
      return scope.read ? undefined : 'its scope lacks read';
    case 'history':
      return unmatched('history', scope.history, [action.room]);
  }
}

function unmatched(
  kind: 'rooms' | 'users' | 'history',
  patterns: readonly string[],
  names: readonly string[],
): string | undefined {
  const name = names.find((candidate) => !patterns.some((pattern) => matches(pattern, candidate)));
  return name === undefined ? undefined : `no pattern under ${kind} of its scope matches ${JSON.stringify(name)}`;
}
