const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The bus subjects under one prefix. `out` is pushes (logic says), `ctl` is control. */
export class Subjects {
  /** Pushes to everyone. */
  readonly all: string;
  /** Pushes to users, many in a message: every gateway filters. */
  readonly user: string;
  /** Beats of publishers, heard by every gateway. */
  readonly beat: string;
  /** Commands of logic to every gateway. */
  readonly command: string;
  /** Pattern of all gateways' reports. */
  readonly everyStat: string;
  /** Gateways to each other: sessions opened, where one per user is set. */
  readonly session: string;
  readonly #prefix: string;

  /** @param prefix one or more NATS tokens, such as `pushcluster` or `tenant.live` */
  constructor(prefix: string) {
    this.#prefix = prefix;
    this.all = `${prefix}.out.all`;
    this.user = `${prefix}.out.user`;
    this.beat = `${prefix}.out.beat`;
    this.command = `${prefix}.ctl.cmd`;
    this.everyStat = `${prefix}.ctl.stat.*`;
    this.session = `${prefix}.ctl.session`;
  }

  /** Subject below which a role gets the answers to its requests to NATS. */
  inbox(role: 'gateway' | 'logic'): string {
    return `${this.#prefix}.in.${role}`;
  }

  /** What each role says and hears, as NATS permissions: a gateway can't publish a push. */
  get permissions() {
    const [pushes, stats, replies] = [`${this.#prefix}.out.>`, this.everyStat, `${this.#prefix}.ctl.reply.*`];
    return {
      gateway: { publish: [stats, replies, this.session], subscribe: [pushes, this.command, this.session, stats] },
      logic: { publish: [pushes, this.command], subscribe: [stats, replies] },
    };
  }

  /**
   * What the roles say and hear in addition where rooms have a history. In place of each last `*` the names of the streams
   * (runtime/history/historyStream.ts) are enough: NATS has no wildcard for a part of a token.
   */
  get historyPermissions() {
    const calls = (...names: string[]) => names.map((name) => `$JS.API.${name}.*`);
    const reads = calls('STREAM.INFO', 'STREAM.MSG.GET', 'DIRECT.GET');
    return {
      gateway: { publish: reads, subscribe: [`${this.inbox('gateway')}.>`] },
      logic: {
        publish: [...reads, `${this.#prefix}.hist.>`, ...calls('STREAM.CREATE', 'STREAM.UPDATE')],
        subscribe: [`${this.inbox('logic')}.>`],
      },
    };
  }

  /** Pushes to one room. */
  room(room: string): string {
    return `${this.#prefix}.out.room.${roomToken(room)}`;
  }

  /** Reports of one gateway. */
  stat(gateway: string): string {
    return `${this.#prefix}.ctl.stat.${gateway}`;
  }

  /** Answers of gateways to one asker. */
  reply(asker: string): string {
    return `${this.#prefix}.ctl.reply.${asker}`;
  }
}

/** A room's name as one NATS token: letters, digits, `_` and `-` stay, every other byte of UTF-8 becomes `=XX`. */
export function roomToken(room: string): string {
  if (/^[A-Za-z0-9_-]+$/.test(room)) return room;
  let token = '';
  for (const byte of encoder.encode(room)) {
    const char = String.fromCharCode(byte);
    token += /[A-Za-z0-9_-]/.test(char) ? char : `=${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return token;
}

/** The room of a token. Throws TypeError where it is none. */
export function roomOfToken(token: string): string {
  const bytes: number[] = [];
  for (let i = 0; i < token.length; i++) {
    if (token[i] !== '=') {
      if (!/[A-Za-z0-9_-]/.test(token[i]!)) throw new TypeError(`not a room token: ${token}`);
      bytes.push(token.charCodeAt(i));
      continue;
    }
    const hex = token.slice(i + 1, i + 3);
    if (!/^[0-9A-F]{2}$/.test(hex)) throw new TypeError(`not a room token: ${token}`);
    bytes.push(Number.parseInt(hex, 16));
    i += 2;
  }
  return decoder.decode(Uint8Array.from(bytes));
}
