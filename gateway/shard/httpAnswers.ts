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
    afterBody(res, req, () => answerProblem(res, wantsUpgrade ? BAD_HANDSHAKE : NOT_WEBSOCKET));
    return;
  }
  const asset = method === 'get' || method === 'head' ? assets.get(path) : undefined;
  if (!asset) {
    const detail = `nothing at ${clipped(path, MAX_QUOTED)}`;
    afterBody(res, req, () => answerProblem(res, { status: 404, code: 'not_found', detail }));
    return;
  }
  res.cork(() => {
    res.writeHeader('Content-Type', asset.type);
    for (const [name, value] of Object.entries(asset.headers)) res.writeHeader(name, value);
    // Closed, like every connection of this port that is no WebSocket: on one that stays, a client could have answers by the
    // thousand that it never reads.
    if (method === 'head') res.endWithoutBody(asset.body.length, true);
    else res.end(asset.body, true);
  });
}

/**
 * Answers at once, or after the request's body, which is discarded: if the connection were closed while it is on its way, a
 * reset would overtake the answer.
 */
function afterBody(res: HttpResponse, req: HttpRequest, answer: () => void): void {
  const length = req.getHeader('content-length');
  if ((length === '' || Number(length) === 0) && req.getHeader('transfer-encoding') === '') {
    answer();
    return;
  }
  res.onAborted(() => {});
  res.onData((_chunk, isLast) => {
    if (isLast) answer();
  });
}
