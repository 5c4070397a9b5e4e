import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import { pageFiles } from '../apiReference/pageFiles.ts';

/** The API's description for programs (`/openapi.json`) and for people (`/docs`). Both need no API key: they hold no secrets. */
export const apiReferenceRoutes: FastifyPluginAsyncZod = async (app) => {
  let description: string | undefined;

  app.get('/openapi.json', { schema: { hide: true } }, async (_request, reply) => {
    description ??= JSON.stringify(app.swagger());
    return reply
      .header('content-type', 'application/json; charset=utf-8')
      .header('cache-control', 'no-cache')
      .send(description);
  });

  for (const [url, { type, headers, read }] of pageFiles())
    app.get(url, { schema: { hide: true } }, async (_request, reply) =>
      reply
        .headers(headers)
        .header('content-type', type)
        .send(await read()),
    );
};
