import uWS from 'uWebSockets.js';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { type Validity, validityOf } from '@pushcluster/runtime/certificateMetrics.ts';
import { listenAddress } from '@pushcluster/runtime/listenAddress.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { readSmallFile } from '@pushcluster/runtime/watchedFile.ts';
import type { ShardProtection } from '../admission/shardProtection.ts';
import type { Asset } from '../console/assets.ts';
import { increment } from '../ipc/counts.ts';
import { ENGINE_HOST, ProxyFront } from '../proxyProtocol/proxyFront.ts';
import { connectionEvents } from './connectionEvents.ts';
import { Echo, type EchoPeer } from './echo.ts';
import { echoEndpoint } from './echoEndpoint.ts';
import { peerAddress } from './engine.ts';
import { answerHttp } from './httpAnswers.ts';
import type { LongTurn } from './longTurn.ts';
import type { Shard } from './shard.ts';
import { UpgradeHandler, type UserData } from './upgradeHandler.ts';

/**
 * Bytes of a message that the engine takes at most: it reserves memory for the length that a fragment announces. The
 * gateway's own limit (`inbound.maxFrame`) is lower.
 */
const ENGINE_MAX_PAYLOAD = 65_536;
const ECHO_MAX_PAYLOAD = 1_048_576;
/** Seconds without a byte from a peer of the echo until it is closed. */
const ECHO_IDLE_SECONDS = 120;

export type ListenerOptions = {
  shard: Shard;
  log: Logger;
  protection: Pick<ShardProtection, 'opened' | 'ended' | 'closed' | 'refusal'>;
  /** Is told of handshakes, and of what connections do. */
  turn: Pick<LongTurn, 'handled'>;
  /** Asks the hub whether one more connection of this address is allowed. The hub counts it if it is. */
  admit: (address: string) => Promise<boolean>;
  /** Shards of the gateway, which share its accept rate. */
  shards: () => number;
  /** The console's files, by path; empty if the console is off. */
  assets: ReadonlyMap<string, Asset>;
};

/** One engine app on the gateway's port. This file alone imports uWebSockets.js; the others know it by engine.ts. */
export class Listener {
  readonly #options: ListenerOptions;
  readonly #upgrades: UpgradeHandler;
  readonly echo = new Echo();
  /** Validity of the certificate in use; undefined without TLS. */
  certificate: Validity | undefined;
  #socket: uWS.us_listen_socket | false = false;
  #front: ProxyFront | undefined;
  #stopped = false;

  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#upgrades = new UpgradeHandler({ ...options, clientOf: (peer) => this.#front?.clientOf(peer) });
  }

  /** Listens, or listens again with the certificate files as they are now: connections stay. Throws Error if it can't. */
  async listen(): Promise<void> {
    if (this.#stopped) return;
    const { gateway } = this.#options.shard.settings;
    const app = gateway.tls ? tlsApp(gateway.tls) : uWS.App();
    const certificate = gateway.tls && validityOf(readSmallFile(gateway.tls.certFile));
    this.#watchSockets(app);
    this.#serveConnections(app);
    if (gateway.echo) this.#serveEcho(app);
    this.#serveHttp(app);
    const [host, port] = gateway.proxyProtocol ? [ENGINE_HOST, 0] : [listenAddress(gateway.host), gateway.port];
    const socket = await new Promise<uWS.us_listen_socket | false>((resolve) => {
      app.listen(host, port, resolve);
    });
    if (!socket) throw new Error(`can't listen on ${host} port ${port}`);
    const former = this.#socket;
    this.#socket = socket;
    this.certificate = certificate;
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
          log.info({ address, reason, code }, 'connection cut: it has no valid PROXY protocol header');
      },
    });
    await this.#front.listen(host, port);
  }

  /** Stops listening for good: a new certificate does not begin it again. */
  stop(): void {
    this.#stopped = true;
    this.#front?.stop();
    if (this.#socket) uWS.us_listen_socket_close(this.#socket);
    this.#socket = false;
  }

  /** Descriptors that are neither a connection's nor a handshake's: of the echo's peers, and of the front. */
  get otherFds(): number {
    return this.echo.peers + (this.#front?.fds ?? 0);
  }

  /** The engine reports each socket that opens, and each that closes without an upgrade. */
  #watchSockets(app: uWS.TemplatedApp) {
    const { protection, shard } = this.#options;
    const watch = (res: uWS.HttpResponse, change: number) => {
      if (change < 0) {
        protection.ended();
        return;
      }
      const isTaken = protection.opened();
      // If there is a front, nothing else may connect to the engine.
      if (this.#front && this.#front.clientOf(peerAddress(res)) === undefined) {
        res.close();
        return;
      }
      if (isTaken) return;
      increment(shard.counts.refused, 'handshakes');
      res.close();
    };
    app.filter((res, change) => watch(res, Number(change)));
  }

  #serveConnections(app: uWS.TemplatedApp) {
    const { shard, protection, turn, log } = this.#options;
    const { gateway } = shard.settings;
    app.ws<UserData>('/connect', {
      maxPayloadLength: ENGINE_MAX_PAYLOAD,
      maxBackpressure: gateway.slowConsumer.maxBuffer,
      idleTimeout: Math.ceil(gateway.idleTimeout / 1_000),
      sendPingsAutomatically: true,
      compression: uWS.DISABLED,
      upgrade: (res, req, context) => {
        this.#upgrades.handle(res, req, context);
        turn.handled();
      },
      ...connectionEvents(shard, protection, turn, (error) =>
        log.error({ err: error, code: 'connection_event' }, 'an event of a connection failed: it was closed'),
      ),
    });
  }

  #serveEcho(app: uWS.TemplatedApp) {
    const { shard, protection } = this.#options;
    app.ws<EchoPeer>('/ws', {
      maxPayloadLength: ECHO_MAX_PAYLOAD,
      maxBackpressure: this.echo.maxBuffer,
      idleTimeout: ECHO_IDLE_SECONDS,
      sendPingsAutomatically: true,
      compression: uWS.DISABLED,
      ...echoEndpoint(this.echo, protection, () => shard.settings.auth.allowedOrigins),
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
