import type { Answer, Request, Transport } from './connection.ts';
import { KubeError } from './errors.ts';
import type { KubeObject } from './objects.ts';

/** An API server for tests: objects by path, optimistic concurrency, and responses that the test can delay. */
export class FakeApi implements Transport {
  readonly namespace = 'default';
  readonly objects = new Map<string, KubeObject>();
  /** Requests received: `PUT /apis/…`. */
  readonly requests: string[] = [];
  /** Called before each response. May throw or wait. */
  onRequest: (request: Request) => Promise<void> | void = () => {};
  /** The first versions belong to objects of the API server itself. */
  #version = 1;

  async send(request: Request): Promise<Answer> {
    request.beforeSend?.();
    const [path = ''] = request.path.split('?');
    this.requests.push(`${request.method} ${path}`);
    await Promise.race([this.onRequest(request), aborted(request.signal)]);
    return this.#answer(request, path, request.body === undefined ? undefined : JSON.parse(request.body));
  }

  /** Requests that write. */
  get writes(): string[] {
    return this.requests.filter((each) => !each.startsWith('GET'));
  }

  #answer({ method, contentType }: Request, path: string, body: KubeObject): Answer {
    const isApply = contentType === 'application/apply-patch+yaml';
    const found = this.objects.get(path);
    if (method === 'GET') return found ? json(200, found) : refused(404, `${path} not found`);
    if (method === 'POST') {
      const at = `${path}/${body.metadata.name}`;
      return this.objects.has(at) ? refused(409, `${at} already exists`) : json(201, this.#keep(at, body));
    }
    if (isApply) {
      const { resourceVersion } = body.metadata;
      const isOutdated = resourceVersion !== undefined && resourceVersion !== found?.metadata.resourceVersion;
      if (found && isOutdated) return refused(409, 'the object has been modified');
      return json(
        found ? 200 : 201,
        this.#keep(path, { ...found, ...body, metadata: { ...found?.metadata, ...body.metadata } }),
      );
    }
    if (!found) return refused(404, `${path} not found`);
    if (method === 'PUT' && body.metadata.resourceVersion !== found.metadata.resourceVersion)
      return refused(409, 'the object has been modified');
    return json(200, this.#keep(path, method === 'PATCH' ? { ...found, ...body, metadata: found.metadata } : body));
  }

  #keep(path: string, object: KubeObject): KubeObject {
    const metadata = { uid: path, ...object.metadata, resourceVersion: String(++this.#version) };
    const kept = { ...object, metadata };
    this.objects.set(path, kept);
    return kept;
  }
}

function json(status: number, body: object): Answer {
  return { status, headers: {}, text: async () => JSON.stringify(body), stream: () => undefined };
}

function refused(code: number, message: string): Answer {
  return json(code, { kind: 'Status', code, message });
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new KubeError('unavailable', 'no response in time')), { once: true });
  });
}
