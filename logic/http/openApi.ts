import swagger from '@fastify/swagger';
import { createJsonSchemaTransform } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { App } from './app.ts';

const transform = createJsonSchemaTransform({
  zodToJsonConfig: {
    // zod drops the examples of a schema that transforms, since they may be of its output; ours are of its input.
    override: ({ zodSchema, jsonSchema }) => {
      const examples = z.globalRegistry.get(zodSchema)?.examples;
      if (Array.isArray(examples)) jsonSchema.examples = examples;
    },
  },
});

const openapi = {
  openapi: '3.1.0',
  info: {
    title: 'PushCluster push API',
    version: '1',
    description: 'Push JSON items to rooms, users or everyone, and see who is online. Errors are RFC 9457 problems.',
  },
  components: {
    securitySchemes: {
      key: {
        type: 'http',
        scheme: 'bearer',
        description: 'An API key. Not needed on loopback if none is configured.',
      },
    },
  },
} as const;

/** Collects the OpenAPI description of every route that `app` gets after this; `app.swagger()` returns it. */
export async function describeRoutes(app: App): Promise<void> {
  await app.register(swagger, { openapi, transform });
}
