import { Command, type Question } from '@pushcluster/protocol/control.ts';
import { parseJson } from '@pushcluster/protocol/parseJson.ts';
import type { IgnoredMessages } from './ignoredMessages.ts';
import type { ShardHandle } from './shardHandle.ts';

export type CommandsOptions = {
  shards: () => readonly ShardHandle[];
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
    const { shards, answer, ignored } = this.#options;
    const command = parseJson(bytes, Command);
    if (!command) {
      ignored.ignore('a command that this version does not know');
      return;
    }
    switch (command.type) {
      case 'disconnect_user':
        for (const shard of shards())
          shard.send({ type: 'disconnectUser', user: command.user, reason: command.reason });
        return;
      case 'disconnect_room':
        for (const shard of shards())
          shard.send({ type: 'disconnectRoom', room: command.room, reason: command.reason });
        return;
      default:
        answer(command);
    }
  }
}
