import uWS from 'uWebSockets.js';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { WEBSOCKET_VERSION, WRONG_VERSION } from '../admission/decideHandshake.ts';
import { originAllowed, originRefusal } from '../admission/origin.ts';
import type { ShardProtection } from '../admission/shardProtection.ts';
import type { Asset } from '../console/assets.ts';
import { increment } from '../ipc/counts.ts';
import { ENGINE_HOST, ProxyFront } from '../proxyProtocol/front.ts';
import { Echo, EchoPeer } from './echo.ts';
import { peerAddress } from './engine.ts';
import { answerHttp, answerProblem } from './httpAnswers.ts';
import type { Shard } from './shard.ts';
import { UpgradeHandler, type UserData } from './upgradeHandler.ts';

/** The engine reserves memory for announced fragment lengths: our own limit is below, and this is the end. */
const ENGINE_MAX_PAYLOAD = 65_536;
const ECHO_MAX_PAYLOAD = 1_048_576;

const decoder = new TextDecoder();

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
  readonly #upgrades: UpgradeHandler;
  readonly echo = new Echo();
  #socket: uWS.us_listen_socket | false = false;
  #front: ProxyFront | undefined;
  #stopped = false;

  constructor(options: ListenOptions) {
    this.#options = options;
    this.#upgrades = new UpgradeHandler({ ...options, clientOf: (peer) => this.#front?.clientOf(peer) });
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
      if (this.#front && this.#front.clientOf(peerAddress(res)) === undefined) {
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
      upgrade: (res, req, context) => this.#upgrades.handle(res, req, context),
      open: (ws) => {
        this.#options.protection.ended();
        const data = ws.getUserData();
        data.open?.(ws, data);
        data.open = undefined;
      },
      message: (ws, message, isBinary) => {
        const { connection } = ws.getUserData();
        if (!connection || connection.gone) return;
        const text = isBinary ? undefined : decoder.decode(message);
        shard.received(connection, text, message.byteLength, Math.floor(performance.now() / 1_000));
      },
      ping: (ws) => {
        const { connection } = ws.getUserData();
        if (connection) shard.pinged(connection);
      },
      drain: (ws) => {
        const { connection } = ws.getUserData();
        if (connection) shard.drained(connection);
      },
      close: (ws, code) => {
        const { connection } = ws.getUserData();
        if (connection) shard.closed(connection, code);
      },
    });
  }

  #serveEcho(app: uWS.TemplatedApp) {
    app.ws<EchoPeer>('/ws', {
      maxPayloadLength: ECHO_MAX_PAYLOAD,
      maxBackpressure: this.echo.maxBuffer,
      idleTimeout: 120,
      sendPingsAutomatically: true,
      compression: uWS.DISABLED,
      upgrade: (res, req, context) => {
        const { allowedOrigins } = this.#options.shard.settings.auth;
        const origin = req.getHeader('origin');
        if (req.getHeader('sec-websocket-version') !== WEBSOCKET_VERSION) {
          answerProblem(res, WRONG_VERSION);
          return;
        }
        if (!this.echo.hasRoom) {
          answerProblem(res, { status: 503, code: 'full', detail: 'the echo has as many peers as it may' });
          return;
        }
        if (!originAllowed(origin, allowedOrigins)) {
          answerProblem(res, originRefusal(origin));
          return;
        }
        res.upgrade<EchoPeer>(
          new EchoPeer(),
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
    const { assets, shard } = this.#options;
    const endpoints = () => (shard.settings.gateway.echo ? ['/connect', '/ws'] : ['/connect']);
    app.any('/*', (res, req) => answerHttp(res, req, assets, endpoints()));
  }
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
