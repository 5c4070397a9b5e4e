import type { ProblemDocument as DocumentSchema } from '@pushcluster/protocol/api.ts';
import type { z } from 'zod';
import { ERROR_CATALOGUE, type ErrorCode } from './errorCatalogue.ts';

type ProblemDocument = z.infer<typeof DocumentSchema>;

/** One place in the request that is wrong: in the body (a JSON pointer as a fragment, such as `#/items/17`), or a parameter. */
export type FieldError = ({ pointer: string } | { parameter: string }) & { detail: string };

/** An error that is answered with a code of the catalogue. `detail` is a sentence that says what is wrong and what to do. */
export class Problem extends Error {
  override name = 'Problem';
  readonly code: ErrorCode;
  readonly errors: FieldError[] | undefined;
  readonly headers: Record<string, string>;

  /** @param more.headers of the response, such as Retry-After */
  constructor(code: ErrorCode, detail: string, more: { errors?: FieldError[]; headers?: Record<string, string> } = {}) {
    super(detail);
    this.code = code;
    this.errors = more.errors;
    this.headers = more.headers ?? {};
  }

  get status(): number {
    return ERROR_CATALOGUE[this.code].status;
  }

  /** The problem document (RFC 9457). */
  get document(): ProblemDocument {
    const { status, title } = ERROR_CATALOGUE[this.code];
    return {
      type: `/docs#${this.code}`,
      title,
      status,
      code: this.code,
      detail: this.message,
      ...(this.errors ? { errors: this.errors } : {}),
    };
  }

  /** The problem document as JSON text. */
  toJson(): string {
    return JSON.stringify(this.document);
  }
}

/** The header Retry-After: `seconds`, at least one, and up to two more, so that clients refused together do not all return together. */
export function retryAfterHeader(seconds: number, random: () => number = Math.random): Record<string, string> {
  return { 'retry-after': String(Math.max(1, Math.ceil(seconds)) + Math.floor(random() * 3)) };
}
