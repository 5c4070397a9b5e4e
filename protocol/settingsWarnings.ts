import { matches } from './pattern.ts';
import type { Settings } from './settings.ts';

/** Warnings about valid settings that can hardly be intended together, a sentence each. The settings are in force. */
export function settingsWarnings({ gateway, logic, rooms, auth }: Settings): string[] {
  const { connections, batching, drain } = gateway;
  const window = Math.max(batching.maxDelay, ...rooms.map((room) => room.batching?.maxDelay ?? 0));
  const warnings: [applies: boolean, sentence: string][] = [
    [
      connections.onePerUser && auth.jwt === undefined,
      'gateway.connections.onePerUser does nothing without auth.jwt: connections have no user',
    ],
    [
      connections.max > 0 && connections.perIp > connections.max,
      'gateway.connections.perIp does nothing: it is above gateway.connections.max',
    ],
    [
      gateway.shards !== 'auto' && connections.max > 0 && connections.max < gateway.shards,
      'gateway.connections.max is below gateway.shards: a shard without an allowance refuses all connections that reach it',
    ],
    [
      gateway.forwardedHeaders > 0 && gateway.proxyProtocol,
      'gateway.forwardedHeaders counts before gateway.proxyProtocol: without a proxy before the load balancer, clients can forge that header',
    ],
    [gateway.consolePushUrl !== '' && !gateway.console, 'gateway.consolePushUrl does nothing without gateway.console'],
    [gateway.consoleRoom !== '' && !gateway.console, 'gateway.consoleRoom does nothing without gateway.console'],
    [
      gateway.rooms.maxPerConnection > gateway.rooms.max,
      'gateway.rooms.maxPerConnection is above gateway.rooms.max, the limit of all connections together',
    ],
    [
      gateway.batching.maxItems === 1 && gateway.batching.maxDelay > 0,
      'gateway.batching.maxDelay does nothing with maxItems 1: each item is sent at once',
    ],
    [
      drain.timeout < window,
      `gateway.drain.timeout is shorter than the longest window (maxDelay ${window} ms): a gateway that shuts down loses the items that wait in it`,
    ],
    [
      logic.limits.item > logic.limits.body,
      'logic.limits.item does nothing: it is above logic.limits.body, the limit of the whole request',
    ],
    ...rooms.flatMap(({ match }, i): [boolean, string][] => {
      const before = rooms.slice(0, i).findIndex((room) => matches(room.match, match));
      return [
        [before >= 0, `rooms.${i} (${JSON.stringify(match)}) has no effect: rooms.${before} matches all of its rooms`],
      ];
    }),
  ];
  return warnings.flatMap(([applies, sentence]) => (applies ? [sentence] : []));
}
