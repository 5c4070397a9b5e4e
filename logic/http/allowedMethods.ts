import { METHODS as NODE_METHODS } from 'node:http';
import { Problem } from '../errors/problem.ts';
import type { App } from './app.ts';
import { clippedPath } from './errorResponse.ts';

/** Methods that a path can be requested with: CONNECT names a host instead. */
export const METHODS = NODE_METHODS.filter((method) => method !== 'CONNECT');

/** Collects the methods of every route that `app` gets from now on, by URL. */
export function collectMethods(app: App): Map<string, Set<string>> {
  const routes = new Map<string, Set<string>>();
  app.addHook('onRoute', ({ url, method }) => {
    const methods = routes.get(url) ?? new Set();
    for (const one of [method].flat()) methods.add(one);
    routes.set(url, methods);
  });
  return routes;
}

/** Answers 405 on each of `routes` for the methods that it lacks, and OPTIONS with those that it has. Call it after the last route. */
export function refuseOtherMethods(app: App, routes: ReadonlyMap<string, ReadonlySet<string>>): void {
  for (const [url, methods] of routes) {
    const allow = [...methods, 'OPTIONS'].join(', ');
    app.route({
      method: METHODS.filter((method) => !methods.has(method)),
      url,
      schema: { hide: true },
      // Before the body is read: nothing would look at it.
      onRequest: (request, reply, done) => {
        if (request.method === 'OPTIONS') {
          reply.code(204).header('allow', allow).send();
          return;
        }
        const detail = `${request.method} is not supported on ${clippedPath(request.url)}. Supported methods: ${allow}.`;
        done(new Problem('method_not_allowed', detail, { headers: { allow } }));
      },
      handler: () => undefined,
    });
  }
}
