import type { BusMessage } from '@pushcluster/runtime/bus/bus.ts';

/** Where the messages of one subscription enter the hub. It decodes them, orders them, and finds losses and repeats. */
export interface Inlet {
  /** `bytes` stay valid and unchanged; `message` has the headers. An error that it throws costs this message alone. */
  accept(bytes: Uint8Array, message: BusMessage): void;
  /** The subscription has come into force: what is published from now on arrives. */
  subscribed(): void;
  /** The subscription has ended, or another inlet takes its messages from now on. */
  close(): void;
}
