import uWS from 'uWebSockets.js';
import { CloseCode, closeReason } from '@pushcluster/protocol/closeCodes.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { formOf, servedSubprotocols, understandsControl } from '@pushcluster/protocol/wireForms.ts';
import { clipped } from '@pushcluster/runtime/clipped.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { addressGroup, canonicalAddress, forwardedAddress } from '../admission/clientAddress.ts';
import { AcceptRate, chooseSubprotocol, originAllowed, type Refusal, retryAfter } from '../admission/handshake.ts';
import type { ShardProtection } from '../admission/shardProtection.ts';
import { InvalidToken } from '../admission/tokenVerifier.ts';
import type { Asset } from '../console/assets.ts';
import { increment } from '../ipc/counts.ts';
import { ENGINE_HOST, ProxyFront } from '../proxyProtocol/front.ts';
import { Echo, EchoSession } from './echo.ts';
import type { Identity, Session } from './session.ts';
import type { Shard } from './shard.ts';

/** The engine reserves memory for announced fragment lengths: our own limit is below, and this is the end. */
const ENGINE_MAX_PAYLOAD = 65_536;
const ECHO_MAX_PAYLOAD = 1_048_576;

/** Characters of what a request said that are said back. */
const MOST_QUOTED = 200;

/** The only one there is (RFC 6455, 4.1). */
const WEBSOCKET_VERSION = '13';

const decoder = new TextDecoder();

const WRONG_VERSION: Refusal = {
  status: 426,
  code: 'version',
  detail: `this is WebSocket version ${WEBSOCKET_VERSION} only`,
};

const NOT_WEBSOCKET: Refusal = {
  status: 426,
  code: 'not_websocket',
  detail: 'this is a WebSocket endpoint: Upgrade is missing',
};
const BAD_HANDSHAKE: Refusal = {
  status: 400,
  code: 'not_websocket',
  detail: 'this is no WebSocket handshake: it takes a GET with a Sec-WebSocket-Key of 16 bytes in base64',
};

/** What the engine keeps with a socket. `open` is let go once called: what it closes over must not live as long. */
type UserData = {
  session: Session | undefined;
  open: ((ws: uWS.WebSocket<UserData>, data: UserData) => void) | undefined;
};

export type ListenOptions = {
  shard: Shard;
  log: Logger;
  /** Whether one more handshake is taken on. */
  protection: Pick<ShardProtection, 'opened' | 'ended' | 'refusal'>;
  /** Asks the hub whether one more connection of this address is allowed. */
  admit: (address: string) => Promise<boolean>;
  /** Share of the gateway's accept rate. */
  shards: () => number;
  /** The console, by path; empty where it is off. */
  assets: ReadonlyMap<string, Asset>;
};

/** One engine app on the gateway's port: the only file that knows uWebSockets.js. */
export class Listener {
  readonly #options: ListenOptions;
  readonly #rate = new AcceptRate();
  readonly echo = new Echo();
  #socket: uWS.us_listen_socket | false = false;
  #front: ProxyFront | undefined;
  #stopped = false;

  constructor(options: ListenOptions) {
    this.#options = options;
  }

  /** Listens, or listens anew with the certificate files as they are now: connections stay. Throws Error where it can't. */
  async listen(): Promise<void> {
    if (this.#stopped) return;
    const { gateway } = this.#options.shard.settings;
    const app = gateway.tls ? tlsApp(gateway.tls) : uWS.App();
    this.#watchHandshakes(app);
    this.#connect(app);
    if (gateway.echo) this.#serveEcho(app);
    this.#serveHttp(app);
    const [host, port] = gateway.proxyProtocol ? [ENGINE_HOST, 0] : [gateway.host, gateway.port];
    const socket = await new Promise<uWS.us_listen_socket | false>((resolve) => {
      app.listen(host, port, resolve);
    });
    if (!socket) throw new Error(`can't listen on ${host} port ${port}`);
    const former = this.#socket;
    this.#socket = socket;
    if (former) uWS.us_listen_socket_close(former);
    if (gateway.proxyProtocol && !this.#front) await this.#listenInFront(gateway);
  }

  async #listenInFront({ host, port }: Settings['gateway']): Promise<void> {
    const { protection, shard, log } = this.#options;
    this.#front = new ProxyFront({
      enginePort: () => (this.#socket ? uWS.us_socket_local_port(this.#socket) : 0),
      protection,
      refused: (code, address, reason) => {
        increment(shard.counts.refused, code);
        if (code === 'proxy_header')
          log.info({ address, reason, code }, 'a connection without a right PROXY header was cut');
      },
    });
    await this.#front.listen(host, port);
  }

  /** Listens no more, not for a new certificate either. */
  stop(): void {
    this.#stopped = true;
    this.#front?.stop();
    if (this.#socket) uWS.us_listen_socket_close(this.#socket);
    this.#socket = false;
  }

  /** Descriptors that are neither a connection's nor a handshake's: of peers of the echo, and of what stands in front of the engine. */
  get otherFds(): number {
    return this.echo.peers + (this.#front?.fds ?? 0);
  }

  /** The engine tells of each socket that opens, and of each that ends without an upgrade. */
  #watchHandshakes(app: uWS.TemplatedApp) {
    const { protection, shard } = this.#options;
    const watch = (res: uWS.HttpResponse, change: number) => {
      if (change < 0) {
        protection.ended();
        return;
      }
      const isOpen = protection.opened();
      // Only the front may connect to the engine where there is one.
      if (this.#front && this.#front.clientOf(peerOf(res)) === undefined) {
        res.close();
        return;
      }
      if (isOpen) return;
      increment(shard.counts.refused, 'handshakes');
      res.close();
    };
    app.filter((res, change) => watch(res, Number(change)));
  }

  #connect(app: uWS.TemplatedApp) {
    const { shard } = this.#options;
    const { gateway } = shard.settings;
    app.ws<UserData>('/connect', {
      maxPayloadLength: ENGINE_MAX_PAYLOAD,
      maxBackpressure: gateway.slowConsumer.maxBuffer,
      idleTimeout: Math.ceil(gateway.idleTimeout / 1_000),
      sendPingsAutomatically: true,
      compression: uWS.DISABLED,
      upgrade: (res, req, context) => this.#upgrade(res, req, context),
      open: (ws) => {
        this.#options.protection.ended();
        const data = ws.getUserData();
        data.open?.(ws, data);
        data.open = undefined;
      },
      message: (ws, message, isBinary) => {
        const { session } = ws.getUserData();
        if (!session || session.gone) return;
        const text = isBinary ? undefined : decoder.decode(message);
        shard.received(session, text, message.byteLength, Math.floor(performance.now() / 1_000));
      },
      ping: (ws) => {
        const { session } = ws.getUserData();
        if (session) shard.pinged(session);
      },
      drain: (ws) => {
        const { session } = ws.getUserData();
        if (session) shard.drained(session);
      },
      close: (ws, code) => {
        const { session } = ws.getUserData();
        if (session) shard.closed(session, code);
      },
    });
  }

  #upgrade(res: uWS.HttpResponse, req: uWS.HttpRequest, context: uWS.us_socket_context_t) {
    const { shard } = this.#options;
    const { gateway, auth } = shard.settings;
    const key = req.getHeader('sec-websocket-key');
    const extensions = req.getHeader('sec-websocket-extensions');
    const { offered, forwarded } = repeatedHeaders(req);
    const protocol = chooseSubprotocol(offered, servedSubprotocols(gateway.batching.compression));
    const form = formOf(protocol);
    const origin = req.getHeader('origin');
    const token = bearer(req.getHeader('authorization')) ?? req.getQuery('token') ?? '';
    const address = this.#address(res, forwarded);

    const upgrade = (open: NonNullable<UserData['open']>) => {
      // Never corked here: after an upgrade that came late (a token had to be checked) the engine's cork takes the new
      // WebSocket's memory for the response's and, now and then, closes the socket.
      res.upgrade<UserData>({ session: undefined, open }, key, protocol ?? '', extensions, context);
    };
    /** For v1 the upgrade is completed and closed with a code, since a browser can't see an HTTP status. */
    const refuse = (refusal: Refusal, closeCode?: CloseCode) => {
      increment(shard.counts.refused, refusal.code);
      // Overload is logged by its turn of events (pressure.ts); these are its consequences.
      const level = refusal.status === 429 || refusal.status === 503 ? 'debug' : 'info';
      this.#options.log[level]({ address, origin, reason: refusal.detail, code: refusal.code }, 'handshake refused');
      if (closeCode !== undefined && understandsControl(form))
        upgrade((ws) => ws.end(closeCode, closeReason(refusal.detail)));
      else refuseHttp(res, refusal);
    };
    const accept = (identity: Identity | undefined, counted: string | undefined) => {
      upgrade((ws, data) => {
        data.session = shard.open(ws, form, identity, counted);
      });
    };

    if (req.getHeader('sec-websocket-version') !== WEBSOCKET_VERSION) {
      refuse(WRONG_VERSION);
      return;
    }
    if (!originAllowed(origin, auth.allowedOrigins)) {
      refuse(
        { status: 403, code: 'origin', detail: `origin ${clipped(origin, MOST_QUOTED)} is not allowed` },
        CloseCode.forbidden,
      );
      return;
    }
    const short = this.#options.protection.refusal();
    if (short) {
      refuse(short);
      return;
    }
    if (!this.#rate.take(gateway.connections.acceptRate / this.#options.shards(), performance.now())) {
      refuse({ status: 429, code: 'rate', detail: 'too many handshakes a second' });
      return;
    }
    if (token !== '' && !shard.verifier) {
      // Without a key source a token can't be checked, and pretending would be worse.
      if (!anonymousAllowed(shard)) {
        refuse({ status: 401, code: 'token', detail: 'this gateway takes no tokens' }, CloseCode.unauthorized);
        return;
      }
    }
    const refuseToken = (error: unknown) => {
      if (error instanceof InvalidToken)
        refuse({ status: 401, code: 'token', detail: error.message }, CloseCode.unauthorized);
      else refuse({ status: 503, code: 'token_unchecked', detail: 'the token could not be checked now' });
    };
    let identity: Identity | undefined = anonymousAllowed(shard) ? { expires: 0, anonymous: true } : undefined;
    let checked: Promise<Identity> | undefined;
    if (token !== '' && shard.verifier) {
      try {
        const atOnce = shard.verifier.verifyNow(token);
        if (atOnce) identity = atOnce;
        else checked = shard.verifier.verify(token);
      } catch (error) {
        refuseToken(error);
        return;
      }
    }
    const counted = gateway.connections.perIp > 0 ? addressGroup(address) : undefined;
    if (!checked && counted === undefined) {
      accept(identity, undefined);
      return;
    }
    let aborted = false;
    res.onAborted(() => {
      aborted = true;
    });
    const proceed = async () => {
      if (checked) {
        try {
          identity = await checked;
        } catch (error) {
          if (!aborted) refuseToken(error);
          return;
        }
      }
      if (aborted) return;
      if (counted !== undefined && !(await this.#options.admit(counted))) {
        if (!aborted) refuse({ status: 429, code: 'per_ip', detail: 'too many connections of this address' });
        return;
      }
      // Others may have come while this one waited. From here to its opening nothing else happens.
      const short = this.#options.protection.refusal();
      if (!aborted && !short) {
        accept(identity, counted);
        return;
      }
      if (counted !== undefined) shard.release(counted);
      if (!aborted && short) refuse(short);
    };
    void proceed();
  }

  /** The client's address in its one spelling: as the proxies say that are trusted, else the peer's. */
  #address(res: uWS.HttpResponse, forwarded: readonly string[]): string {
    const { forwardedHeaders } = this.#options.shard.settings.gateway;
    const told = forwardedHeaders > 0 ? forwardedAddress(forwarded, forwardedHeaders) : undefined;
    if (told !== undefined) return told;
    const peer = peerOf(res);
    return this.#front?.clientOf(peer) ?? canonicalAddress(peer) ?? peer;
  }

  #serveEcho(app: uWS.TemplatedApp) {
    app.ws<EchoSession>('/ws', {
      maxPayloadLength: ECHO_MAX_PAYLOAD,
      maxBackpressure: this.echo.maxBuffer,
      idleTimeout: 120,
      sendPingsAutomatically: true,
      compression: uWS.DISABLED,
      upgrade: (res, req, context) => {
        const { auth } = this.#options.shard.settings;
        const origin = req.getHeader('origin');
        if (req.getHeader('sec-websocket-version') !== WEBSOCKET_VERSION) {
          refuseHttp(res, WRONG_VERSION);
          return;
        }
        if (!this.echo.hasRoom) {
          refuseHttp(res, { status: 503, code: 'full', detail: 'the echo has as many peers as it may' });
          return;
        }
        if (!originAllowed(origin, auth.allowedOrigins)) {
          refuseHttp(res, {
            status: 403,
            code: 'origin',
            detail: `origin ${clipped(origin, MOST_QUOTED)} is not allowed`,
          });
          return;
        }
        res.upgrade<EchoSession>(
          new EchoSession(),
          req.getHeader('sec-websocket-key'),
          '',
          req.getHeader('sec-websocket-extensions'),
          context,
        );
      },
      open: (ws) => {
        this.#options.protection.ended();
        this.echo.opened(ws.getUserData(), ws);
      },
      message: (ws, message, isBinary) => this.echo.received(ws.getUserData(), ws, message, isBinary),
      drain: (ws) => this.echo.drained(ws.getUserData(), ws),
      close: (ws) => this.echo.closed(ws.getUserData()),
    });
  }

  #serveHttp(app: uWS.TemplatedApp) {
    const { assets } = this.#options;
    app.any('/*', (res, req) => {
      const method = req.getMethod();
      const path = req.getUrl();
      const asset = method === 'get' || method === 'head' ? assets.get(path) : undefined;
      if (path === '/connect' || (path === '/ws' && this.#options.shard.settings.gateway.echo)) {
        // The engine leaves to this route what is no handshake of its own.
        const wanted = req.getHeader('upgrade').toLowerCase() === 'websocket';
        // Closed on a body that is still on its way, the answer would be lost in a reset.
        const hasBody = req.getHeader('content-length') !== '' || req.getHeader('transfer-encoding') !== '';
        refuseHttp(res, wanted ? BAD_HANDSHAKE : NOT_WEBSOCKET, !hasBody);
        return;
      }
      if (!asset) {
        refuseHttp(res, { status: 404, code: 'not_found', detail: `nothing at ${clipped(path, MOST_QUOTED)}` }, false);
        return;
      }
      res.cork(() => {
        res.writeHeader('Content-Type', asset.type);
        for (const [name, value] of Object.entries(asset.headers)) res.writeHeader(name, value);
        if (method === 'head') res.endWithoutBody(asset.body.length);
        else res.end(asset.body);
      });
    });
  }
}

/** Headers that may stand in several lines: the engine's getHeader knows one line of a name only. */
function repeatedHeaders(req: uWS.HttpRequest): { offered: string; forwarded: string[] } {
  const offered: string[] = [];
  const forwarded: string[] = [];
  req.forEach((name, value) => {
    if (name === 'sec-websocket-protocol') offered.push(value);
    else if (name === 'x-forwarded-for') forwarded.push(value);
  });
  return { offered: offered.join(','), forwarded };
}

function peerOf(res: uWS.HttpResponse): string {
  return decoder.decode(res.getRemoteAddressAsText());
}

function tlsApp({ certFile, keyFile }: NonNullable<Settings['gateway']['tls']>): uWS.TemplatedApp {
  try {
    return uWS.SSLApp({ cert_file_name: certFile, key_file_name: keyFile });
  } catch (error) {
    // The engine does not say which of them it is.
    throw new Error(
      `gateway.tls: certFile ${certFile} and keyFile ${keyFile} can't be used: both must be readable PEM files, and the key that of the certificate`,
      { cause: error },
    );
  }
}

const TITLES = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  426: 'Upgrade Required',
  429: 'Too Many Requests',
  503: 'Service Unavailable',
} as const;

/** @param closes gives the socket back: on one that stays, refusals could be had by the thousand for the price of a handshake */
function refuseHttp(res: uWS.HttpResponse, { status, code, detail }: Refusal, closes = true) {
  res.cork(() => {
    res.writeStatus(`${status} ${TITLES[status]}`);
    res.writeHeader('Content-Type', 'application/problem+json');
    if (status === 429 || status === 503) res.writeHeader('Retry-After', String(retryAfter()));
    if (status === 426) {
      res.writeHeader('Upgrade', 'websocket');
      res.writeHeader('Connection', 'Upgrade');
      res.writeHeader('Sec-WebSocket-Version', WEBSOCKET_VERSION);
    }
    if (status === 401) res.writeHeader('WWW-Authenticate', 'Bearer');
    res.end(JSON.stringify({ type: 'about:blank', title: TITLES[status], status, code, detail }), closes);
  });
}

function bearer(header: string): string | undefined {
  return /^Bearer +(\S+)$/i.exec(header)?.[1];
}

function anonymousAllowed(shard: Shard): boolean {
  const { anonymous, jwt } = shard.settings.auth;
  return anonymous ?? jwt === undefined;
}
