import type { HubMessage } from '../ipc/messages.ts';
import type { Shard } from './shard.ts';

/** Does what the hub says of connections and channels; false where the message is about the shard's process. */
export function obey(shard: Shard, message: HubMessage): boolean {
  switch (message.type) {
    case 'subscribed':
      shard.opened(message.key, message.mask, message.generation);
      return true;
    case 'subscriptionRefused':
      shard.shut(message.key);
      return true;
    case 'bus':
      shard.busChanged(message.connected);
      return true;
    case 'verified':
      shard.verified(message.receipt);
      return true;
    case 'missed':
      shard.missed(message.key, message.items, message.reason);
      return true;
    case 'disconnectUser':
      shard.disconnectUser(message.user, message.reason);
      return true;
    case 'disconnectRoom':
      shard.disconnectRoom(message.room, message.reason);
      return true;
    case 'replaced':
      shard.replace(message.user, message.upTo);
      return true;
    case 'move':
      shard.leavers.ask(message.count, message.time, message.reason);
      return true;
    case 'mark':
      shard.mark(message.on);
      return true;
    case 'moveOldest':
      shard.leavers.askOldest(message.count, message.time, message.others);
      return true;
    default:
      return false;
  }
}
