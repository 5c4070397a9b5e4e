/** What a `GatewayMetrics` reads of a gateway in which nothing is. Tests change what they are about. */
export const NO_READINGS = {
  gateway: 'simulated',
  startedAt: 0,
  shards: () => [],
  rooms: () => 0,
  ringBytes: () => 0,
  frameBudget: () => 0,
  channels: () => ({ kept: 0, empty: 0, waiting: 0 }),
  draining: () => false,
  rebalancing: () => false,
  peers: () => 0,
  generation: () => 1,
};
