import { systemClock } from '@pushcluster/runtime/clock.ts';
import type { ShardProtection } from '../admission/shardProtection.ts';
import type { Socket } from './engine.ts';
import type { LongTurn } from './longTurn.ts';
import type { Shard } from './shard.ts';
import type { UserData } from './upgradeHandler.ts';

/** The engine's socket, with what was handed to it at the upgrade. */
interface EngineSocket extends Socket {
  getUserData(): UserData;
}

const decoder = new TextDecoder();

/**
 * What the engine reports of sockets at `/connect`, after their upgrade, as calls of the shard. What throws here would end
 * the process: it costs its own connection only.
 * @param turn is told of what peers have done
 * @param failed is told what was thrown
 */
export function connectionEvents(
  shard: Shard,
  protection: Pick<ShardProtection, 'ended' | 'closed'>,
  turn: Pick<LongTurn, 'handled'>,
  failed: (error: unknown) => void,
) {
  const guarded =
    <Rest extends unknown[]>(event: (ws: EngineSocket, ...rest: Rest) => void) =>
    (ws: EngineSocket, ...rest: Rest): void => {
      try {
        event(ws, ...rest);
      } catch (error) {
        failed(error);
        closeQuietly(ws);
      }
    };
  const fromPeer = <Rest extends unknown[]>(event: (ws: EngineSocket, ...rest: Rest) => void) => {
    const handle = guarded(event);
    return (ws: EngineSocket, ...rest: Rest): void => {
      handle(ws, ...rest);
      turn.handled();
    };
  };
  return {
    open: guarded((ws) => {
      protection.ended();
      const data = ws.getUserData();
      data.open?.(ws, data);
      data.open = undefined;
    }),
    message: fromPeer((ws, message: ArrayBuffer, isBinary: boolean) => {
      const { connection } = ws.getUserData();
      if (!connection || connection.gone) return;
      const text = isBinary ? undefined : decoder.decode(message);
      shard.received(connection, text, message.byteLength, Math.floor(systemClock.now() / 1_000));
    }),
    ping: fromPeer((ws) => {
      const { connection } = ws.getUserData();
      if (connection) shard.pinged(connection, Math.floor(systemClock.now() / 1_000));
    }),
    drain: fromPeer((ws) => {
      const { connection } = ws.getUserData();
      if (connection) shard.drained(connection);
    }),
    close: guarded((ws, code: number) => {
      protection.closed();
      const { connection } = ws.getUserData();
      if (!connection) return;
      const isOurs = connection.ending !== undefined;
      shard.closed(connection, code);
      if (!isOurs) turn.handled();
    }),
  };
}

/** A socket that is closed already throws. */
function closeQuietly(ws: EngineSocket) {
  try {
    ws.close();
  } catch {}
}
