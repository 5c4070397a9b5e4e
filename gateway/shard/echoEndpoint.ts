import { WEBSOCKET_VERSION, WRONG_VERSION } from '../admission/decideHandshake.ts';
import { originAllowed, originRefusal } from '../admission/origin.ts';
import type { ShardProtection } from '../admission/shardProtection.ts';
import { type Echo, EchoPeer } from './echo.ts';
import type { HttpRequest, HttpResponse, Socket, UpgradeContext } from './engine.ts';
import { answerProblem } from './httpAnswers.ts';

/** The engine's socket, with what was handed to it at the upgrade. */
interface EngineSocket extends Socket {
  getUserData(): EchoPeer;
}

/**
 * Handshakes at the diagnostic `/ws`, and what the engine reports of its sockets. It has limits of its own, so that it can be
 * used while the gateway refuses everyone else.
 * @param allowedOrigins `auth.allowedOrigins` now
 */
export function echoEndpoint(
  echo: Echo,
  protection: Pick<ShardProtection, 'ended' | 'closed'>,
  allowedOrigins: () => readonly string[],
) {
  return {
    upgrade(res: HttpResponse, req: HttpRequest, context: UpgradeContext): void {
      const origin = req.getHeader('origin');
      if (req.getHeader('sec-websocket-version') !== WEBSOCKET_VERSION) {
        answerProblem(res, WRONG_VERSION);
        return;
      }
      if (!echo.hasRoom) {
        answerProblem(res, { status: 503, code: 'full', detail: 'the echo has as many peers as it may' });
        return;
      }
      if (!originAllowed(origin, allowedOrigins())) {
        answerProblem(res, originRefusal(origin));
        return;
      }
      const key = req.getHeader('sec-websocket-key');
      res.upgrade(new EchoPeer(), key, '', req.getHeader('sec-websocket-extensions'), context);
    },
    open(ws: EngineSocket): void {
      protection.ended();
      echo.opened(ws.getUserData(), ws);
    },
    message(ws: EngineSocket, message: ArrayBuffer, isBinary: boolean): void {
      echo.received(ws.getUserData(), ws, message, isBinary);
    },
    drain(ws: EngineSocket): void {
      echo.drained(ws.getUserData(), ws);
    },
    close(ws: EngineSocket): void {
      protection.closed();
      echo.closed(ws.getUserData());
    },
  };
}
