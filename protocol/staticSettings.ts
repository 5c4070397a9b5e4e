/**
 * The static settings: dotted paths of keys that, with everything below them, take effect only at the next start of a
 * process. All other settings are live: a running process applies a change within seconds and closes no connection.
 */
export const STATIC_KEYS = [
  'gateway.host',
  'gateway.port',
  'gateway.shards',
  'gateway.tls',
  'gateway.proxyProtocol',
  'gateway.idleTimeout',
  'gateway.slowConsumer.maxBuffer',
  'gateway.batching.compression',
  // The grace period of a pod is set when it starts.
  'gateway.drain.settle',
  'gateway.drain.timeout',
  'gateway.drain.file',
  'gateway.console',
  'gateway.echo',
  'gateway.consolePushUrl',
  'gateway.consoleRoom',
  'logic.host',
  'logic.port',
  'logic.tls',
  'logic.publishTimeout',
  'logic.limits.body',
  'logic.allowedOrigins',
  'bus',
  'admin',
] as const;
