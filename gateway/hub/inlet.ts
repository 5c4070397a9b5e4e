import type { BusMessage } from '@pushcluster/runtime/bus/bus.ts';

/**
 * Where the messages of one subscription enter the hub. It decodes them, orders them, and finds losses and repeats.
 *
 * `accept` takes one message. An inlet that can't finish at once returns a promise: the following messages of
 * this subscription wait until it settles, those of others do not. What waits is not bounded, so the inlet must bound the
 * time. No inlet does so yet: rooms with history will. An inlet that finishes at once returns nothing, so that no promise is made
 * for each message.
 */
export interface Inlet {
  /** `bytes` stay valid and unchanged; `message` has the headers. An error that it throws costs this message alone. */
  accept(bytes: Uint8Array, message: BusMessage): void | Promise<void>;
  /** The subscription has come into force: what is published from now on arrives. */
  subscribed(): void;
  /** The subscription has ended. */
  close(): void;
}
