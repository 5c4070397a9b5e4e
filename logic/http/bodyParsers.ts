import type { z } from 'zod';
import { invalidRequest, type RequestPart } from '../errors/invalidRequest.ts';
import { Problem } from '../errors/problem.ts';
import { arrayItems, memberItems, parseRequestJson } from '../items/jsonItems.ts';
import type { App } from './app.ts';
import { parseForm } from './formBody.ts';

/** Accepts JSON bodies on the routes of `app` (a scope). They are parsed with their schema; their bytes are kept for the items. */
export function acceptJson(app: App, types: string[] = ['application/json']) {
  app.addContentTypeParser(types, { parseAs: 'buffer' }, (request, body: Buffer, done) => {
    request.rawJson = body;
    done(null, body);
  });
}

/** Accepts form bodies on the routes of `app` (a scope). The parsed body is an object of the fields. */
export function acceptForms(app: App) {
  app.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'buffer' },
    (request, body: Buffer, done) => {
      try {
        const fields = parseForm(body);
        request.rawJson = fields.get('items') ?? null;
        done(null, Object.fromEntries([...fields].map(([name, bytes]) => [name, bytes.toString('utf8')])));
      } catch (error) {
        done(error instanceof Error ? error : new Error(String(error)));
      }
    },
  );
}

/** The items under `items` of a JSON body that its schema has accepted. */
export function bodyItems(body: Buffer | null): Uint8Array[] {
  if (!body) throw missingBody();
  return memberItems(body, 'items');
}

/** The items of a form, whose field `items` is `field`. Throws Problem malformed_body if the field is not a JSON array. */
export function formItems(field: Buffer | null): Uint8Array[] {
  if (!field || !Array.isArray(parseRequestJson(field, 'items', arrayItems)))
    throw new Problem('malformed_body', 'items is not a JSON array.', {
      errors: [{ pointer: '#/items', detail: 'is not a JSON array' }],
    });
  return arrayItems(field);
}

/** fastify's names of the parts that have a schema. */
const PARTS: Record<string, RequestPart> = { body: 'body', querystring: 'query', params: 'path' };

/** Checks a part of a request by its zod schema. */
export function validatorCompiler({ schema, httpPart }: { schema: z.ZodType; httpPart?: string }) {
  return (data: unknown) => {
    try {
      const part = PARTS[httpPart ?? ''] ?? 'body';
      return { value: part === 'body' ? parseBody(schema, data) : parsePart(schema, data, part) };
    } catch (error) {
      return { error: error instanceof Error ? error : new Error(String(error)) };
    }
  };
}

/** A JSON body, which arrives as bytes, or the fields of a form, as `schema` outputs it. Throws a Problem that says what is wrong. */
export function parseBody<T extends z.ZodType>(schema: T, body: unknown): z.output<T> {
  return parsePart(schema, jsonOf(body), 'body');
}

/** `input` as `schema` outputs it. Throws Problem invalid_request, which says how it differs. */
export function parsePart<T extends z.ZodType>(schema: T, input: unknown, part: RequestPart): z.output<T> {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  // Parsed again with `reportInput`, which makes better sentences but is too slow for every request.
  const { error } = schema.safeParse(input, { reportInput: true });
  throw invalidRequest((error ?? result.error).issues, part);
}

function jsonOf(body: unknown): unknown {
  if (body === undefined || body === null) throw missingBody();
  return body instanceof Uint8Array ? parseRequestJson(body, 'The body', (bytes) => memberItems(bytes, 'items')) : body;
}

function missingBody(): Problem {
  return new Problem('malformed_body', 'The body is missing.');
}
