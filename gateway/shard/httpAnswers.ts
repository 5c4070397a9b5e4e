import { clipped } from '@pushcluster/runtime/clipped.ts';
import { WEBSOCKET_VERSION } from '../admission/decideHandshake.ts';
import { retryAfterSeconds } from '../admission/refusal.ts';
import type { Asset } from '../console/assets.ts';
import type { HttpRequest, HttpResponse } from './engine.ts';

/** Characters of the request's path that an answer quotes. */
const MAX_QUOTED = 200;

const TITLES = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  426: 'Upgrade Required',
  429: 'Too Many Requests',
  503: 'Service Unavailable',
} as const;

/** What is wrong, as RFC 9457 (application/problem+json) puts it. */
export type Problem = { status: keyof typeof TITLES; code: string; detail: string };

const NOT_WEBSOCKET: Problem = {
  status: 426,
  code: 'not_websocket',
  detail: 'this is a WebSocket endpoint: Upgrade is missing',
};
const BAD_HANDSHAKE: Problem = {
  status: 400,
  code: 'not_websocket',
  detail: 'this is not a WebSocket handshake, which is a GET with a Sec-WebSocket-Key of 16 bytes in base64',
};

/** @param closes closes the connection: on one that stays, a client could have refusals by the thousand for the price of one handshake */
export function answerProblem(res: HttpResponse, { status, code, detail }: Problem, closes = true): void {
  res.cork(() => {
    res.writeStatus(`${status} ${TITLES[status]}`);
    res.writeHeader('Content-Type', 'application/problem+json');
    if (status === 429 || status === 503) res.writeHeader('Retry-After', String(retryAfterSeconds()));
    if (status === 426) {
      res.writeHeader('Upgrade', 'websocket');
      res.writeHeader('Connection', 'Upgrade');
      res.writeHeader('Sec-WebSocket-Version', WEBSOCKET_VERSION);
    }
    if (status === 401) res.writeHeader('WWW-Authenticate', 'Bearer');
    res.end(JSON.stringify({ type: 'about:blank', title: TITLES[status], status, code, detail }), closes);
  });
}

/**
 * Answers what is no WebSocket handshake: the console's files, and problems.
 * @param endpoints paths of WebSockets: the engine leaves to this function whatever it does not take for a handshake
 */
export function answerHttp(
  res: HttpResponse,
  req: HttpRequest,
  assets: ReadonlyMap<string, Asset>,
  endpoints: readonly string[],
): void {
  const method = req.getMethod();
  const path = req.getUrl();
  if (endpoints.includes(path)) {
    const wantsUpgrade = req.getHeader('upgrade').toLowerCase() === 'websocket';
    // If the connection were closed while a body is on its way, a reset would overtake the answer.
    const hasBody = req.getHeader('content-length') !== '' || req.getHeader('transfer-encoding') !== '';
    answerProblem(res, wantsUpgrade ? BAD_HANDSHAKE : NOT_WEBSOCKET, !hasBody);
    return;
  }
  const asset = method === 'get' || method === 'head' ? assets.get(path) : undefined;
  if (!asset) {
    answerProblem(res, { status: 404, code: 'not_found', detail: `nothing at ${clipped(path, MAX_QUOTED)}` }, false);
    return;
  }
  res.cork(() => {
    res.writeHeader('Content-Type', asset.type);
    for (const [name, value] of Object.entries(asset.headers)) res.writeHeader(name, value);
    if (method === 'head') res.endWithoutBody(asset.body.length);
    else res.end(asset.body);
  });
}
