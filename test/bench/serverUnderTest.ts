import type { AudienceOptions } from './audience.ts';
import { SERVER_CORE } from './machine.ts';
import { type Publisher, type Pushing, Stack } from './stack.ts';
import { writeTokens } from './tokens.ts';

/** A server with its publisher: PushCluster, or another one with the same load. All its processes share a core. */
export type ServerUnderTest = {
  name: string;
  port: number;
  /** How a client joins its room. */
  client: Partial<Pick<AudienceOptions, 'path' | 'hello' | 'ready' | 'room' | 'rooms' | 'tokens'>>;
  publisher: Publisher;
  via: Pushing['via'];
  /** Processes by what they are counted as. */
  processes: Readonly<Record<string, number>>;
  stop(): Promise<void>;
};

/** What differs from the default settings: the window in milliseconds, and users that connect with tokens. */
export type Changes = { maxDelay?: number; users?: number };

/** Gateway, logic and nats-server. */
export async function pushCluster(changes: Changes = {}): Promise<ServerUnderTest> {
  const stack = await Stack.start(SERVER_CORE);
  const { settings, client } = settingsFor(stack, changes);
  const gateway = await stack.gateway(settings);
  const logic = await stack.logic(SERVER_CORE);
  return {
    name: 'PushCluster',
    port: gateway.port,
    client,
    publisher: await stack.publisher(logic),
    via: 'logic',
    processes: { gateway: gateway.actor.pid, logic: logic.actor.pid, nats: stack.natsPid },
    stop: () => stack.stop(),
  };
}

/** A gateway alone: messages go straight to NATS, which is on the other core. */
export async function gatewayAlone(): Promise<ServerUnderTest> {
  const stack = await Stack.start();
  const gateway = await stack.gateway();
  return {
    name: 'PushCluster, the gateway',
    port: gateway.port,
    client: {},
    publisher: await stack.publisher(),
    via: 'bus',
    processes: { gateway: gateway.actor.pid },
    stop: () => stack.stop(),
  };
}

/** Gateway and logic in one process, without NATS, as `make run` starts them; its shards are processes of their own. */
export async function pushClusterInOne(changes: Changes = {}): Promise<ServerUnderTest> {
  const stack = await Stack.start();
  const { settings, client } = settingsFor(stack, changes);
  const server = await stack.standalone(settings);
  return {
    name: 'PushCluster, make run',
    port: server.port,
    client,
    publisher: await stack.publisher(server),
    via: 'logic',
    processes: { all: server.actor.pid },
    stop: () => stack.stop(),
  };
}

function settingsFor(stack: Stack, { maxDelay, users }: Changes) {
  const tokens = users === undefined ? undefined : writeTokens(stack.folder, users);
  return {
    settings: {
      ...(maxDelay === undefined ? {} : { gateway: { batching: { maxDelay } } }),
      ...(tokens && { auth: tokens.auth }),
    },
    // A user is there once its handshake is answered.
    client: tokens ? { room: '', rooms: 0, ready: '', tokens: tokens.file } : {},
  };
}
