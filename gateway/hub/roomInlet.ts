import type { BusMessage } from '@pushcluster/runtime/bus/bus.ts';
import type { HubChannel } from './hubChannel.ts';
import type { Inlet } from './inlet.ts';

/** The inlet of a room, which another one replaces when the room's policy changes: its subscription stays. */
export class RoomInlet implements Inlet {
  readonly channel: HubChannel;
  readonly #make: (channel: HubChannel) => Inlet;
  #inlet: Inlet;
  #inForce = false;

  constructor(channel: HubChannel, make: (channel: HubChannel) => Inlet) {
    this.channel = channel;
    this.#make = make;
    this.#inlet = make(channel);
  }

  accept(bytes: Uint8Array, message: BusMessage): void | Promise<void> {
    return this.#inlet.accept(bytes, message);
  }

  subscribed(): void {
    this.#inForce = true;
    this.#inlet.subscribed();
  }

  /** Takes another inlet from now on. */
  renew(): void {
    this.#inlet.close();
    this.#inlet = this.#make(this.channel);
    if (this.#inForce) this.#inlet.subscribed();
  }

  close(): void {
    this.#inlet.close();
  }
}
