import { systemClock } from '@pushcluster/runtime/clock.ts';
import type { ShardProtection } from '../admission/shardProtection.ts';
import type { Socket } from './engine.ts';
import type { Shard } from './shard.ts';
import type { UserData } from './upgradeHandler.ts';

/** The engine's socket, with what was handed to it at the upgrade. */
interface EngineSocket extends Socket {
  getUserData(): UserData;
}

const decoder = new TextDecoder();

/** What the engine reports of sockets at `/connect`, after their upgrade, as calls of the shard. */
export function connectionEvents(shard: Shard, protection: Pick<ShardProtection, 'ended'>) {
  return {
    open(ws: EngineSocket): void {
      protection.ended();
      const data = ws.getUserData();
      data.open?.(ws, data);
      data.open = undefined;
    },
    message(ws: EngineSocket, message: ArrayBuffer, isBinary: boolean): void {
      const { connection } = ws.getUserData();
      if (!connection || connection.gone) return;
      const text = isBinary ? undefined : decoder.decode(message);
      shard.received(connection, text, message.byteLength, Math.floor(systemClock.now() / 1_000));
    },
    ping(ws: EngineSocket): void {
      const { connection } = ws.getUserData();
      if (connection) shard.pinged(connection);
    },
    drain(ws: EngineSocket): void {
      const { connection } = ws.getUserData();
      if (connection) shard.drained(connection);
    },
    close(ws: EngineSocket, code: number): void {
      const { connection } = ws.getUserData();
      if (connection) shard.closed(connection, code);
    },
  };
}
