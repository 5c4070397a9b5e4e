import type { ApiKeys } from '../access/apiKeys.ts';
import { identify } from './admission.ts';
import type { App } from './app.ts';

/** Identifies the caller on every route that `app` (a scope) gets after this. Answers 401 without a valid API key. */
export function requireKey(app: App, keys: ApiKeys): void {
  app.addHook('onRequest', (request, _reply, done) => {
    try {
      request.caller = identify(request, keys);
      done();
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    }
  });
}
