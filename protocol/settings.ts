import { z } from 'zod';
import { canonicalOriginPattern } from './origins.ts';
import { Batching, largestFrame, NamePattern, RoomPolicy } from './roomPolicies.ts';
import { duration, size } from './units.ts';

/**
 * The settings file of gateway and logic: one schema, YAML or JSON. Every key has a default, so `{}` is a complete
 * file. Unknown keys are rejected. A key that the PushCluster resource has too has the same name there.
 */

const port = z.number().int().min(0).max(65_535);
const count = z.number().int().min(0);
const originPattern = z.string().transform((text, context) => {
  try {
    return canonicalOriginPattern(text);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    context.addIssue({ code: 'custom', message: `${error.message} (is ${JSON.stringify(text.slice(0, 100))})` });
    return z.NEVER;
  }
});

/** Maximum number of proxies in a row that append to X-Forwarded-For. */
export const MAX_HOPS = 16;

/**
 * File descriptors per connection with gateway.proxyProtocol: the client's socket, and both ends of the one to the
 * engine.
 */
export const FILES_BEHIND_PROXY_PROTOCOL = 3;

/** PEM files: a certificate, followed by those of its authorities, and its key. Reloaded when they change. */
const Tls = z.strictObject({ certFile: z.string(), keyFile: z.string() });

export const GatewaySettings = z
  .strictObject({
    /** Address to listen on. `::` stands for all addresses, of IPv6 and IPv4. */
    host: z.string().default('::'),
    port: port.default(7777),
    /** Number of shard processes. auto: one less than the number of cores, at least one. */
    shards: z.union([z.literal('auto'), z.number().int().min(1).max(256)]).default('auto'),
    connections: z
      .strictObject({
        /** Maximum number of connections. 0: as many as file descriptors allow. */
        max: count.default(0),
        /** Maximum handshakes per second. 0: no limit. */
        acceptRate: count.default(0),
        /**
         * Maximum connections per client address (IPv6: per /64). 0: no limit. Clients behind a NAT share an address.
         */
        perIp: count.default(0),
        /** Allow one connection per user. A newer connection closes the older one with 4004. */
        onePerUser: z.boolean().default(false),
      })
      .prefault({}),
    rooms: z
      .strictObject({
        maxPerConnection: z.number().int().min(1).max(10_000).default(100),
        /** Maximum number of rooms that have a member on one shard. */
        max: z.number().int().min(1).default(200_000),
      })
      .prefault({}),
    inbound: z
      .strictObject({
        /** Largest frame that a client may send, in bytes. A larger one closes the connection with 1009. */
        maxFrame: size({ min: 256, max: 65_536 }).default(4_096),
        /**
         * Maximum frames per second from one client, with a burst of twice that. More close the connection with 1008.
         */
        frameRate: z.number().int().min(1).max(10_000).default(50),
      })
      .prefault({}),
    /** A connection that sends nothing for this long, not even a PONG, is closed. The engine sends pings in time. */
    idleTimeout: duration({ min: 8_000, max: 960_000 }).default(120_000),
    batching: Batching,
    slowConsumer: z
      .strictObject({
        /** Maximum bytes queued for one socket beyond the kernel's buffer. At least two full frames. */
        maxBuffer: size({ min: 16_384, max: 67_108_864 }).default(1_048_576),
        /**
         * For a client over maxBuffer. skip: drop its frames, and report the number by LAGGED once it has read. close:
         * 4003.
         */
        policy: z.enum(['skip', 'close']).default('skip'),
      })
      .prefault({}),
    drain: z
      .strictObject({
        /** Connections asked to move, or closed, per second. The rate rises if the drain would not end in time. */
        rate: z.number().int().min(1).default(200),
        /** How long a gateway that was told to end still accepts connections. */
        settle: duration({ min: 0, max: 300_000 }).default(5_000),
        /** Maximum time to move connections after `settle`. */
        timeout: duration({ min: 1_000, max: 3_600_000 }).default(300_000),
        /**
         * A file that requests a drain while it contains a time (RFC 3339). The gateway moves connections away until
         * `timeout` after that time, and still accepts new ones. If the file is empty or absent, there is no drain.
         */
        file: z.string().min(1).optional(),
      })
      .prefault({}),
    /** Rebalancing: a gateway with many more connections than the average moves its surplus to the others. */
    rebalance: z
      .strictObject({
        /** A gateway moves connections away once it holds more than this multiple of the average. */
        threshold: z.number().min(1.05).max(100).default(1.2),
        /** Connections moved per second, shared by all gateways. 0 disables rebalancing. */
        rate: count.default(100),
        /** No gateway is moved below this number of connections. */
        minimum: count.default(500),
        /** Also move clients that do not understand RECONNECT, by closing them with 1012. */
        moveOthers: z.boolean().default(false),
      })
      .prefault({}),
    /** Overload protection: thresholds above which new connections are refused. Existing connections stay. */
    protection: z
      .strictObject({
        /**
         * Share of the memory limit (of the cgroup, otherwise of the host's available memory). 1 disables this check.
         */
        memory: z.number().min(0.1).max(1).default(0.9),
        /** Share of the file descriptors that a shard may open. 1: only the last few are kept free. */
        fds: z.number().min(0.1).max(1).default(0.98),
        /** Maximum delay of an event loop, averaged over the last seconds. 0 disables this check. */
        loopLag: duration({ min: 0, max: 60_000 }).default(500),
        /**
         * Handshakes that one shard processes at a time. Sockets beyond twice this number are closed without an answer.
         */
        handshakes: z.number().int().min(10).max(1_000_000).default(10_000),
      })
      .prefault({}),
    shardWatch: z
      .strictObject({
        /** A shard that reports nothing for this long is killed and replaced. */
        hangTimeout: duration({ min: 3_000, max: 120_000 }).default(10_000),
        /**
         * Maximum bytes of frames in transit to one shard. Above it, frames are dropped, counted and reported by
         * LAGGED.
         */
        maxInFlight: size({ min: 1_048_576, max: 1_073_741_824 }).default(67_108_864),
      })
      .prefault({}),
    tls: Tls.optional(),
    /**
     * Read the client's address from the PROXY protocol. Only behind a balancer that always sends it. Copies every
     * byte.
     */
    proxyProtocol: z.boolean().default(false),
    /**
     * Number of proxies in front of the gateway that append to X-Forwarded-For. That many entries from its end are
     * trusted. false: 0, true: 1. Only behind proxies that always append.
     */
    forwardedHeaders: z
      .union([z.boolean(), z.number().int().min(0).max(MAX_HOPS)], {
        error: `must be true, false or the number of proxies, 0 to ${MAX_HOPS}`,
      })
      .default(false)
      .transform(Number),
    /** Serve the test console at `/`; with `echo`, serve the diagnostic echo at `/ws`. */
    console: z.boolean().default(false),
    echo: z.boolean().default(false),
    /** URL of the push API that the console uses, as the browser reaches it. */
    consolePushUrl: z.string().default(''),
    /** Room that the console joins as soon as it is opened. Empty: the console waits for its user to connect. */
    consoleRoom: z.string().default(''),
  })
  .prefault({})
  .superRefine((gateway, context) => {
    // Envelope and ids come on top of the items: a quarter more covers them.
    if (gateway.slowConsumer.maxBuffer < 2 * gateway.batching.maxBytes)
      context.addIssue({
        code: 'custom',
        path: ['slowConsumer', 'maxBuffer'],
        message: `must hold two full frames: at least ${2 * gateway.batching.maxBytes} bytes with batching.maxBytes ${gateway.batching.maxBytes}`,
      });
  });

export const ApiKey = z.strictObject({
  /** Name of the key in logs. The key itself is never logged. */
  name: z.string().min(1).max(64),
  /** File with one key per line. All lines are valid, so two lines allow a rotation. Reloaded when it changes. */
  file: z.string(),
  /** What the key permits. If absent, it permits everything. */
  scope: z
    .strictObject({
      all: z.boolean().default(false),
      rooms: z.array(NamePattern).default([]),
      users: z.array(NamePattern).default([]),
      /** Disconnect users and rooms that match `users` and `rooms`. */
      disconnect: z.boolean().default(false),
      /** Read rooms, users and statistics. */
      read: z.boolean().default(false),
      /** Read the pushes in the history of rooms that match. */
      history: z.array(NamePattern).default([]),
    })
    .optional(),
});

/** Keys of one name would share their requests' ids. */
function refuseRepeatedNames(keys: readonly { name: string }[], context: z.RefinementCtx) {
  const names = keys.map(({ name }) => name);
  for (const [i, name] of names.entries())
    if (names.indexOf(name) < i)
      context.addIssue({
        code: 'custom',
        path: [i, 'name'],
        message: `must differ from the other names; two keys of one holder are two lines of its file`,
      });
}

export const LogicSettings = z
  .strictObject({
    /** Address to listen on. Without API keys, logic listens on loopback only. */
    host: z.string().default('::'),
    port: port.default(7799),
    /** Serve HTTPS instead of HTTP. */
    tls: Tls.optional(),
    /** Without keys, only loopback is served. */
    apiKeys: z.array(ApiKey).superRefine(refuseRepeatedNames).default([]),
    /** Origins of pages that may push from a browser. */
    allowedOrigins: z.array(originPattern).default([]),
    limits: z
      .strictObject({
        body: size({ min: 1_024, max: 67_108_864 }).default(1_048_576),
        items: z.number().int().min(1).max(100_000).default(1_000),
        item: size({ min: 1, max: 1_048_576 }).default(32_768),
      })
      .prefault({}),
    /** Maximum urgent pushes per second, over all rooms. More are answered with 429. */
    urgentRate: count.default(100),
    /** Maximum time that a push waits for the bus. After it, the answer is 503. */
    publishTimeout: duration({ min: 100, max: 30_000 }).default(2_000),
    /**
     * Maximum time that gateways may take to answer a question, for example for the number of connections of a room.
     */
    askTimeout: duration({ min: 50, max: 10_000 }).default(500),
    drain: z
      .strictObject({
        settle: duration({ min: 0, max: 300_000 }).default(5_000),
        timeout: duration({ min: 1_000, max: 3_600_000 }).default(30_000),
      })
      .prefault({}),
  })
  .prefault({});

/** An HTTP URL without user name and password, which `fetch` rejects. */
const JwksUrl = z.url({ protocol: /^https?$/ }).refine((url) => URL.parse(url)?.username === '', {
  message: "must be without a user's name and password",
});

export const AuthSettings = z
  .strictObject({
    jwt: z
      .strictObject({
        /** HS256: file with one secret per line. Reloaded when it changes. */
        secretFile: z.string().optional(),
        /** RS256 and ES256: URL of a JWKS, or `jwksFile` for a file with one. */
        jwksUrl: JwksUrl.optional(),
        /** PEM file with the certificate authorities to trust for `jwksUrl`. Default: the public ones. */
        jwksCaFile: z.string().optional(),
        jwksFile: z.string().optional(),
        audience: z.string().optional(),
        issuer: z.string().optional(),
      })
      .refine(
        (jwt) => [jwt.secretFile, jwt.jwksUrl, jwt.jwksFile].filter((source) => source !== undefined).length === 1,
        {
          message: 'needs exactly one of secretFile, jwksUrl and jwksFile',
        },
      )
      .refine((jwt) => jwt.jwksCaFile === undefined || jwt.jwksUrl !== undefined, {
        path: ['jwksCaFile'],
        message: 'is set without jwksUrl, the only key source that is fetched',
      })
      .optional(),
    /** Whether connections without a token are allowed. Default: only if `jwt` is not set. */
    anonymous: z.boolean().optional(),
    /** Origins of pages that may connect; `*` matches any characters. Empty: all origins. */
    allowedOrigins: z.array(originPattern).default([]),
  })
  .refine((auth) => auth.anonymous !== false || auth.jwt !== undefined, {
    path: ['anonymous'],
    message: 'is false but there is no auth.jwt: nobody could connect',
  })
  .prefault({});

export const NatsSettings = z.strictObject({
  /** `nats://host:port` or `tls://host:port`. Several are servers of one cluster. */
  servers: z.array(z.string().min(1)).min(1),
  user: z.string().optional(),
  passwordFile: z.string().optional(),
  tokenFile: z.string().optional(),
  /** An NKey seed. */
  nkeyFile: z.string().optional(),
  /** A .creds file (JWT and NKey). */
  credsFile: z.string().optional(),
  tls: z
    .strictObject({ caFile: z.string().optional(), certFile: z.string().optional(), keyFile: z.string().optional() })
    .optional(),
  /** Interval of pings. A broken network is noticed after two to three intervals. */
  pingInterval: duration({ min: 200, max: 60_000 }).default(2_000),
});

/** Whether this host stands for all addresses. */
function isAnyHost(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

export const Settings = z
  .strictObject({
    /**
     * Generation of the file, set by the program that writes it and exported as a metric. Absent: the number of
     * reloads.
     */
    generation: z.number().int().min(0).optional(),
    gateway: GatewaySettings,
    logic: LogicSettings,
    rooms: z.array(RoomPolicy).default([]),
    /** Where the pushes of rooms with `history` are stored. Without `bus.nats` they are in the memory of the process. */
    history: z
      .strictObject({
        /**
         * Where NATS keeps them. memory: a server that restarts loses its copy, and a history with one copy begins anew.
         */
        storage: z.enum(['file', 'memory']).default('file'),
        /**
         * How long a push is tried again while NATS does not store it, before it is answered with 503. After the crash of a
         * server nothing is stored for 4 to 8 seconds.
         */
        publishTimeout: duration({ min: 100, max: 60_000 }).default(10_000),
      })
      .prefault({}),
    auth: AuthSettings,
    bus: z
      .strictObject({
        /** Prefix of all subjects. PushClusters that share a NATS need different prefixes. */
        prefix: z
          .string()
          .regex(
            /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/,
            'must be NATS tokens of letters, digits, "_" and "-", joined by dots',
          )
          .max(64)
          .default('pushcluster'),
        /** If absent, the in-process bus is used, which serves one process. */
        nats: NatsSettings.optional(),
      })
      .prefault({}),
    admin: z.strictObject({ host: z.string().default('::'), port: port.default(9090) }).prefault({}),
    log: z.strictObject({ level: z.enum(['debug', 'info', 'warn', 'error']).default('info') }).prefault({}),
  })
  .superRefine(({ gateway, logic, admin }, context) => {
    for (const [name, { host, port }] of Object.entries({ gateway, logic }))
      if (port !== 0 && port === admin.port && (host === admin.host || isAnyHost(host) || isAnyHost(admin.host)))
        context.addIssue({
          code: 'custom',
          path: ['admin', 'port'],
          message: `must differ from ${name}.port, which is ${port} too: both listen in one process`,
        });
  })
  .superRefine(({ gateway, rooms }, context) => {
    const largest = largestFrame({ gateway, rooms });
    if (gateway.shardWatch.maxInFlight < 2 * largest)
      context.addIssue({
        code: 'custom',
        path: ['gateway', 'shardWatch', 'maxInFlight'],
        message: `must hold two full frames: at least ${2 * largest} bytes with the largest batching.maxBytes ${largest}`,
      });
    rooms.forEach(({ match, batching }, index) => {
      const maxBytes = batching?.maxBytes;
      if (maxBytes !== undefined && gateway.slowConsumer.maxBuffer < 2 * maxBytes)
        context.addIssue({
          code: 'custom',
          path: ['rooms', index, 'batching', 'maxBytes'],
          message: `must be at most ${Math.floor(gateway.slowConsumer.maxBuffer / 2)} bytes for "${match}": gateway.slowConsumer.maxBuffer must hold two full frames`,
        });
    });
  });
export type Settings = z.infer<typeof Settings>;
