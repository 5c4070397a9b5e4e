import { PushClient } from '@pushcluster/client/pushClient.ts';
import { z } from 'zod';
import { redirectedSocket } from '../harness/redirectedSocket.ts';
import { IMPATIENT } from './actors.ts';
import type { Book } from './record.ts';
import { publishersOf, Sessions } from './sessions.ts';

const Frame = z.object({
  type: z.string(),
  data: z
    .object({
      room: z.string().optional(),
      items: z.array(z.string()).optional(),
      ids: z.array(z.tuple([z.string(), z.number(), z.number()], z.unknown())).optional(),
    })
    .optional(),
});

/**
 * A page in a room without history. Each of its connections is written down for itself, because items that are pushed
 * while it has none are not told. A connection that was moved to another gateway goes on.
 */
export class PlainPage {
  last: string | undefined;
  readonly push: PushClient;
  /** Resolves when it is in the room for the first time. */
  readonly joined: Promise<void>;
  readonly #room: string;
  readonly #sessions: Sessions;
  /** Publishers of items that have come, and may have yet to be delivered. */
  readonly #publishers = new Map<string, string>();
  /** The gateway that it has connected to last, and whether its JOIN was answered there. */
  #newest = { at: '', isJoined: false };
  #isOpen = false;

  /** @param gateway host and port of the next gateway to connect to */
  constructor(name: string, room: string, gateway: () => string, book: Book) {
    const sessions = new Sessions(name, room, 'sdk', book);
    this.#room = room;
    this.#sessions = sessions;
    const connecting = (at: string) => {
      const newest = { at, isJoined: false };
      this.#newest = newest;
      return () => {
        newest.isJoined = true;
        this.#begin();
      };
    };
    const target = redirectedSocket(gateway, (socket, at) => {
      const joined = connecting(at);
      socket.addEventListener('message', ({ data }) => {
        if (typeof data === 'string' && data.startsWith('{"type":"OK"') && data.includes(`"room":"${room}"`)) joined();
      });
    });
    this.push = new PushClient('ws://balancer/connect', { ...IMPATIENT, WebSocket: target });
    this.push.on('frame', ({ text }) => this.#heard(text));
    this.push.on('open', () => {
      this.#isOpen = true;
      this.#begin();
    });
    this.push.on('moved', () => sessions.moved());
    this.push.on('close', () => {
      this.#isOpen = false;
      sessions.end();
    });
    const joined = this.push.join(room);
    this.joined = joined.joined;
    joined.on('item', (value) => {
      const item = value as string;
      this.last = item;
      sessions.item(item, this.#publishers.get(item));
      this.#publishers.delete(item);
    });
    joined.on('lagged', ({ dropped }) => sessions.told('lagged', dropped));
    joined.on('gap', ({ missed }) => sessions.told('gap', missed));
  }

  close(): void {
    this.push.close();
  }

  #begin() {
    if (this.#isOpen && this.#newest.isJoined && !this.#sessions.isOpen) this.#sessions.begin(this.#newest.at);
  }

  #heard(text: string) {
    const { type, data } = Frame.parse(JSON.parse(text));
    if (type !== 'PUSH' || data?.room !== this.#room || !data.items) return;
    for (const [item, by] of publishersOf(data.items, data.ids)) this.#publishers.set(item, by);
  }
}
