import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod';
import type { Caller } from '../access/authorization.ts';
import type { TargetLabel } from '../metrics.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** The JSON text that items are cut from: the body, or the field `items` of a form. */
    rawJson: Buffer | null;
    /** Who makes the request; null on routes that need no API key. */
    caller: Caller | null;
    /** For the metrics. */
    target: TargetLabel;
  }
}

/** An instance of fastify: the server, or a scope of it. */
export type App = Parameters<FastifyPluginAsyncZod>[0];
