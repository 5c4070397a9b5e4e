import { matches } from './pattern.ts';
import type { Settings } from './settings.ts';

/** Pairs of settings that are allowed and hardly meant, a sentence each: they are logged, and the settings count. */
export function settingsDoubts({ gateway, logic, rooms, auth }: Settings): string[] {
  const { connections, batching, drain } = gateway;
  const window = Math.max(batching.maxDelay, ...rooms.map((room) => room.batching?.maxDelay ?? 0));
  const doubts: [isDoubtful: boolean, sentence: string][] = [
    [
      connections.onePerUser && auth.jwt === undefined,
      'gateway.connections.onePerUser does nothing without auth.jwt: nobody has a user',
    ],
    [
      connections.max > 0 && connections.perIp > connections.max,
      'gateway.connections.perIp does nothing: it is above gateway.connections.max',
    ],
    [
      gateway.shards !== 'auto' && connections.max > 0 && connections.max < gateway.shards,
      'gateway.connections.max is below gateway.shards: shards without a connection to give refuse whoever comes to them',
    ],
    [
      gateway.forwardedHeaders > 0 && gateway.proxyProtocol,
      'gateway.forwardedHeaders counts before gateway.proxyProtocol: right only where a proxy is in front of the balancer, else clients write that header',
    ],
    [gateway.consolePushUrl !== '' && !gateway.console, 'gateway.consolePushUrl does nothing without gateway.console'],
    [gateway.consoleRoom !== '' && !gateway.console, 'gateway.consoleRoom does nothing without gateway.console'],
    [
      gateway.rooms.maxPerConnection > gateway.rooms.max,
      'gateway.rooms.maxPerConnection is above gateway.rooms.max, which is of all connections together',
    ],
    [
      gateway.batching.maxItems === 1 && gateway.batching.maxDelay > 0,
      'gateway.batching.maxDelay does nothing with maxItems 1: each item is a frame at once',
    ],
    [
      drain.timeout < window,
      `gateway.drain.timeout is shorter than the longest window (maxDelay ${window} ms): a gateway that leaves loses what waits`,
    ],
    [
      logic.limits.item > logic.limits.body,
      'logic.limits.item does nothing: it is above logic.limits.body, which holds the whole request',
    ],
    ...rooms.flatMap(({ match }, i): [boolean, string][] => {
      const before = rooms.slice(0, i).findIndex((room) => matches(room.match, match));
      return [
        [before >= 0, `rooms.${i} (${JSON.stringify(match)}) never counts: rooms.${before} matches all of its rooms`],
      ];
    }),
  ];
  return doubts.flatMap(([isDoubtful, sentence]) => (isDoubtful ? [sentence] : []));
}
