import type { ApiKeys } from '../access/apiKeys.ts';
import type { Caller } from '../access/authorization.ts';
import type { App } from './app.ts';

/** Who makes a request while no API keys are configured: a program on this machine (loopbackGuard.ts). */
const LOOPBACK: Caller = { name: 'loopback', scope: undefined };

/** Identifies the caller on every route that `app` (a scope) gets after this. Answers 401 without a valid API key. */
export function requireKey(app: App, keys: ApiKeys): void {
  app.addHook('onRequest', (request, _reply, done) => {
    try {
      request.caller = keys.required ? keys.identify(request.headers.authorization) : LOOPBACK;
      done();
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    }
  });
}
