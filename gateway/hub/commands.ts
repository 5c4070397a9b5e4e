import { Command, type Question } from '@pushcluster/protocol/control.ts';
import { parseJson } from '@pushcluster/protocol/parseJson.ts';
import { type ChannelKey, roomKey, userKey } from '../ipc/channelKey.ts';
import type { HubMessage } from '../ipc/messages.ts';
import type { IgnoredMessages } from './ignoredMessages.ts';
import type { ShardHandle } from './shardHandle.ts';

export type CommandsOptions = {
  shards: () => readonly ShardHandle[];
  /** Lets all items that a channel has leave its window, and calls `run` once the shards were sent them. */
  afterItems: (key: ChannelKey, run: () => void) => void;
  answer: (question: Question) => void;
  ignored: IgnoredMessages;
};

/** Follows the commands that logic publishes to all gateways, and passes questions on. */
export class Commands {
  readonly #options: CommandsOptions;

  constructor(options: CommandsOptions) {
    this.#options = options;
  }

  receive(bytes: Uint8Array): void {
    const { answer, ignored } = this.#options;
    const command = parseJson(bytes, Command);
    if (!command) {
      ignored.ignore('a command that this version does not know');
      return;
    }
    switch (command.type) {
      case 'disconnect_user': {
        const { user, reason } = command;
        this.#tell(userKey(user), { type: 'disconnectUser', user, reason });
        return;
      }
      case 'disconnect_room': {
        const { room, reason } = command;
        this.#tell(roomKey(room), { type: 'disconnectRoom', room, reason });
        return;
      }
      default:
        answer(command);
    }
  }

  /** Those who are to go get what was pushed before. */
  #tell(key: ChannelKey, message: HubMessage) {
    const { shards, afterItems } = this.#options;
    afterItems(key, () => {
      for (const shard of shards()) shard.send(message);
    });
  }
}
