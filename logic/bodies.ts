import type { z } from 'zod';
import { invalidRequest } from './complaints.ts';
import { parseForm } from './form.ts';
import { arrayItems, memberItems, parseJson } from './items.ts';
import { Problem } from './problems.ts';
import type { App } from './server.ts';

/** JSON bodies on the routes of `app` (a scope). They are parsed with their schema, so that their bytes are at hand. */
export function takeJson(app: App) {
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body: Buffer, done) => {
    request.rawJson = body;
    done(null, body);
  });
}

/** Form bodies on the routes of `app` (a scope): an object of its fields. */
export function takeForms(app: App) {
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

/** The items of a request whose JSON body has them under `items`, which its schema has shown. */
export function bodyItems(body: Buffer | null): Uint8Array[] {
  if (!body) throw new Problem('malformed_body', 'This route needs a body.');
  return memberItems(body, 'items');
}

/** The items of a form whose field `items` is `field`. Throws Problem malformed_body where it isn't a JSON array. */
export function formItems(field: Buffer | null): Uint8Array[] {
  if (!field || !Array.isArray(parseJson(field, 'items', arrayItems)))
    throw new Problem('malformed_body', 'items is not a JSON array.', {
      errors: [{ pointer: '#/items', detail: 'is not a JSON array' }],
    });
  return arrayItems(field);
}

/** Checks a part of a request by its zod schema. A JSON body comes as bytes and is parsed here. */
export function validatorCompiler({ schema, httpPart }: { schema: z.ZodType; httpPart?: string }) {
  return (data: unknown) => {
    try {
      const input = httpPart === 'body' ? jsonOf(data) : data;
      const result = schema.safeParse(input);
      if (result.success) return { value: result.data };
      // Once more, now that it is known to be wrong: issues with their input read better, and cost more.
      const { error } = schema.safeParse(input, { reportInput: true });
      return { error: invalidRequest((error ?? result.error).issues, httpPart === 'body') };
    } catch (error) {
      return { error: error instanceof Error ? error : new Error(String(error)) };
    }
  };
}

function jsonOf(body: unknown): unknown {
  if (body === undefined || body === null) throw new Problem('malformed_body', 'This route needs a body.');
  return body instanceof Uint8Array ? parseJson(body, 'The body', (bytes) => memberItems(bytes, 'items')) : body;
}
