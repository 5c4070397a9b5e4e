import { readFile } from 'node:fs/promises';

/** A request that the API server has answered. A watch counts as answered when its response has begun. */
export type AuditEvent = {
  /** Times of the request and of the response; milliseconds of Unix time. */
  received: number;
  answered: number;
  /** One of get, list, watch, create, update, patch, delete, deletecollection. */
  verb: string;
  user: string;
  userAgent: string;
  /** Such as `apps/deployments` or `pods/status`, or a path such as `/readyz`. */
  resource: string;
  namespace: string;
  name: string;
  /** HTTP status; 0 if there was none. */
  code: number;
};

/** The requests that the API server has answered, with their users. */
export class AuditLog {
  readonly file: string;

  constructor(file: string) {
    this.file = file;
  }

  /** All events so far, in the order of their responses. */
  async events(): Promise<AuditEvent[]> {
    const text = await readFile(this.file, 'utf8');
    // The last line may be incomplete.
    return text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => eventOf(JSON.parse(line)));
  }

  /** The events of requests that change an object. */
  async writes(): Promise<AuditEvent[]> {
    return (await this.events()).filter(({ verb }) => !READS.includes(verb));
  }
}

const READS = ['get', 'list', 'watch'];

function eventOf(line: unknown): AuditEvent {
  const text = (...path: string[]) => String(at(line, path) ?? '');
  const parts = [text('objectRef', 'apiGroup'), text('objectRef', 'resource'), text('objectRef', 'subresource')];
  return {
    received: Date.parse(text('requestReceivedTimestamp')),
    answered: Date.parse(text('stageTimestamp')),
    verb: text('verb'),
    user: text('user', 'username'),
    userAgent: text('userAgent'),
    resource: parts.filter((part) => part !== '').join('/') || text('requestURI'),
    namespace: text('objectRef', 'namespace'),
    name: text('objectRef', 'name'),
    code: Number(at(line, ['responseStatus', 'code']) ?? 0),
  };
}

function at(value: unknown, path: readonly string[]): unknown {
  let found = value;
  for (const key of path)
    found = typeof found === 'object' && found !== null ? (found as Record<string, unknown>)[key] : undefined;
  return found;
}
