import { closeReason } from '@pushcluster/protocol/closeCodes.ts';
import { type Form, formOf, servedSubprotocols, understandsControl } from '@pushcluster/protocol/wireForms.ts';
import { systemClock } from '@pushcluster/runtime/clock.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import { AcceptRate } from '../admission/acceptRate.ts';
import { addressGroup, canonicalAddress, forwardedAddress } from '../admission/clientAddress.ts';
import {
  type AdmissionState,
  type Check,
  type CheckResults,
  decideHandshake,
  type Handshake,
  type TokenResult,
} from '../admission/decideHandshake.ts';
import type { Identity } from '../admission/identity.ts';
import type { Refusal } from '../admission/refusal.ts';
import type { ShardProtection } from '../admission/shardProtection.ts';
import { chooseSubprotocol } from '../admission/subprotocol.ts';
import { InvalidToken } from '../admission/tokens/tokenVerifier.ts';
import { increment } from '../ipc/counts.ts';
import type { Connection } from './connection.ts';
import { type HttpRequest, type HttpResponse, peerAddress, type Socket, type UpgradeContext } from './engine.ts';
import { answerProblem } from './httpAnswers.ts';
import type { Shard } from './shard.ts';

/** What the engine keeps with a socket. `open` is let go once called: what it closes over must not live as long. */
export type UserData = {
  connection: Connection | undefined;
  open: ((ws: Socket, data: UserData) => void) | undefined;
};

export type UpgradeHandlerOptions = {
  shard: Shard;
  log: Logger;
  protection: Pick<ShardProtection, 'refusal'>;
  /** Asks the hub whether one more connection of this address is allowed. The hub counts it if it is. */
  admit: (address: string) => Promise<boolean>;
  /** Shards of the gateway, which share its accept rate. */
  shards: () => number;
  /** The client behind a peer that is this gateway's own proxy; undefined: the peer is the client. */
  clientOf: (peer: string) => string | undefined;
};

/** One request to upgrade: the handshake under way. */
type Upgrade = {
  res: HttpResponse;
  handshake: Handshake;
  state: AdmissionState & { readonly results: CheckResults };
  verifier: Shard['verifier'];
  form: Form;
  /** The client's. */
  address: string;
  /** The address that the hub counts, if connections per address are limited. */
  counted: string | undefined;
  /** Makes it a WebSocket. Call it once, and nothing else on `res` after it. */
  complete: (open: NonNullable<UserData['open']>) => void;
  aborted: boolean;
  /** Set once the handshake has left the engine's handler. */
  waits: boolean;
};

/** Handshakes at `/connect`: gathers what the decision needs (decideHandshake.ts), and does what was decided. */
export class UpgradeHandler {
  readonly #options: UpgradeHandlerOptions;
  readonly #rate = new AcceptRate();

  constructor(options: UpgradeHandlerOptions) {
    this.#options = options;
  }

  /** Takes on a handshake, which is decided on within this call unless a check takes time. */
  handle(res: HttpResponse, req: HttpRequest, context: UpgradeContext): void {
    const { shard, protection } = this.#options;
    const { gateway, auth } = shard.settings;
    const key = req.getHeader('sec-websocket-key');
    const extensions = req.getHeader('sec-websocket-extensions');
    const { offered, forwarded } = repeatedHeaders(req);
    const protocol = chooseSubprotocol(offered, servedSubprotocols(gateway.batching.compression));
    const address = this.#addressOf(res, forwarded);
    const counted = gateway.connections.perIp > 0 ? addressGroup(address) : undefined;
    this.#proceed({
      res,
      handshake: {
        version: req.getHeader('sec-websocket-version'),
        origin: req.getHeader('origin'),
        token: bearer(req.getHeader('authorization')) ?? req.getQuery('token') ?? '',
      },
      state: {
        allowedOrigins: auth.allowedOrigins,
        anonymous: auth.anonymous ?? auth.jwt === undefined,
        checksTokens: shard.verifier !== undefined,
        limitsAddresses: counted !== undefined,
        get overload() {
          return protection.refusal();
        },
        results: {},
      },
      verifier: shard.verifier,
      form: formOf(protocol),
      address,
      counted,
      // Never corked here: after an upgrade that came late (a token had to be checked) the engine's cork takes the new
      // WebSocket's memory for the response's and, now and then, closes the socket.
      complete: (open) =>
        res.upgrade<UserData>({ connection: undefined, open }, key, protocol ?? '', extensions, context),
      aborted: false,
      waits: false,
    });
  }

  #proceed(upgrade: Upgrade) {
    for (;;) {
      const decision = decideHandshake(upgrade.handshake, upgrade.state);
      switch (decision.type) {
        case 'accept':
          this.#accept(upgrade, decision.identity);
          return;
        case 'refuse':
          this.#release(upgrade);
          this.#refuse(upgrade, decision.refusal);
          return;
        case 'check':
          if (this.#check(upgrade, decision.check)) break;
          return;
      }
    }
  }

  /** Checks at once, if that takes no time; false: the handshake proceeds when the result has come. */
  #check(upgrade: Upgrade, check: Check): boolean {
    const { shard, shards, admit } = this.#options;
    const { state, verifier, handshake, counted } = upgrade;
    const { results } = state;
    switch (check) {
      case 'rate': {
        const perSecond = shard.settings.gateway.connections.acceptRate / shards();
        results.rate = this.#rate.take(perSecond, systemClock.now());
        return true;
      }
      case 'token': {
        const result = checkedNow(verifier, handshake.token);
        if (result) results.token = result;
        else
          this.#await(upgrade, checked(verifier, handshake.token), (later) => {
            results.token = later;
          });
        return result !== undefined;
      }
      case 'address':
        this.#await(upgrade, admit(counted ?? ''), (isAdmitted) => {
          results.address = isAdmitted;
        });
        return false;
    }
  }

  #await<T>(upgrade: Upgrade, result: Promise<T>, take: (result: T) => void) {
    if (!upgrade.waits)
      upgrade.res.onAborted(() => {
        upgrade.aborted = true;
      });
    upgrade.waits = true;
    void result.then((value) => {
      take(value);
      // Never within an event of the engine, where promises go on too: while it parses another handshake, an upgrade would
      // take the place of that one, and the engine aborts the process.
      systemClock.soon(() => {
        if (upgrade.aborted) this.#release(upgrade);
        else this.#proceed(upgrade);
      });
    });
  }

  /** The hub may have counted the address of a client that gets no connection. */
  #release({ state, counted }: Upgrade) {
    if (state.results.address && counted !== undefined) this.#options.shard.release(counted);
  }

  #accept({ form, counted, complete }: Upgrade, identity: Identity | undefined) {
    const { shard } = this.#options;
    complete((ws, data) => {
      data.connection = shard.open(ws, form, identity, counted);
    });
  }

  #refuse({ res, form, handshake, address, complete }: Upgrade, refusal: Refusal) {
    const { shard, log } = this.#options;
    const { status, code, detail, closeCode } = refusal;
    increment(shard.counts.refused, code);
    // Overload is logged when it begins and ends (shortage.ts), and not again for each handshake that it refuses.
    const level = status === 429 || status === 503 ? 'debug' : 'info';
    log[level]({ address, origin: handshake.origin, reason: detail, code }, 'handshake refused');
    if (closeCode !== undefined && understandsControl(form)) complete((ws) => ws.end(closeCode, closeReason(detail)));
    else answerProblem(res, refusal);
  }

  /** The client's address in canonical form: what trusted proxies say, or else the peer's. */
  #addressOf(res: HttpResponse, forwarded: readonly string[]): string {
    const { forwardedHeaders } = this.#options.shard.settings.gateway;
    const client = forwardedHeaders > 0 ? forwardedAddress(forwarded, forwardedHeaders) : undefined;
    if (client !== undefined) return client;
    const peer = peerAddress(res);
    return this.#options.clientOf(peer) ?? canonicalAddress(peer) ?? peer;
  }
}

type Verifier = Shard['verifier'];

/** The result if it takes no time; undefined if it does. */
function checkedNow(verifier: Verifier, token: string): TokenResult | undefined {
  try {
    const identity = verifier?.verifyNow(token);
    return identity && { type: 'valid', identity };
  } catch (error) {
    return failed(error);
  }
}

async function checked(verifier: Verifier, token: string): Promise<TokenResult> {
  try {
    if (!verifier) throw new Error('there is no key source');
    return { type: 'valid', identity: await verifier.verify(token) };
  } catch (error) {
    return failed(error);
  }
}

function failed(error: unknown): TokenResult {
  return error instanceof InvalidToken ? { type: 'invalid', reason: error.message } : { type: 'unchecked' };
}

/** Headers that may take several lines: the engine's getHeader knows only one line of a name. */
function repeatedHeaders(req: HttpRequest): { offered: string; forwarded: string[] } {
  const offered: string[] = [];
  const forwarded: string[] = [];
  req.forEach((name, value) => {
    if (name === 'sec-websocket-protocol') offered.push(value);
    else if (name === 'x-forwarded-for') forwarded.push(value);
  });
  return { offered: offered.join(','), forwarded };
}

function bearer(header: string): string | undefined {
  return /^Bearer +(\S+)$/i.exec(header)?.[1];
}
