import { z } from 'zod';
import { canonicalOriginPattern } from './origins.ts';
import { Batching, largestFrame, NamePattern, RoomPolicy } from './roomPolicies.ts';
import { duration, size } from './units.ts';

/**
 * The settings file of gateway and logic: one schema, YAML or JSON. Every key has a default, so that `{}` is a whole
 * file; unknown keys are refused. Names are those of the PushCluster resource where both have them.
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

/** Proxies in a row that add to X-Forwarded-For, at most. */
export const MAX_HOPS = 16;

/** Descriptors that a connection takes with gateway.proxyProtocol: the client's, and both ends of the one to the engine. */
export const FILES_BEHIND_PROXY_PROTOCOL = 3;

export const GatewaySettings = z
  .strictObject({
    host: z.string().default('0.0.0.0'),
    port: port.default(7777),
    /** Processes with an engine each; auto: one less than the cores, at least one. */
    shards: z.union([z.literal('auto'), z.number().int().min(1).max(256)]).default('auto'),
    connections: z
      .strictObject({
        /** Connections at most; 0: as many as descriptors allow. */
        max: count.default(0),
        /** Handshakes a second at most; 0: no limit. */
        acceptRate: count.default(0),
        /** Connections of one address at most; 0: no limit (many people share an address behind a NAT). */
        perIp: count.default(0),
        /** One session per user: an older one is closed with 4004. */
        onePerUser: z.boolean().default(false),
      })
      .prefault({}),
    rooms: z
      .strictObject({
        maxPerConnection: z.number().int().min(1).max(10_000).default(100),
        /** Rooms with a member on one shard at most. */
        max: z.number().int().min(1).default(200_000),
      })
      .prefault({}),
    inbound: z
      .strictObject({
        /** Largest frame that a client may send; over it: 1009. */
        maxFrame: size({ min: 256, max: 65_536 }).default(4_096),
        /** Frames a second of one client, with a burst of twice that; over it: 1008. */
        frameRate: z.number().int().min(1).max(10_000).default(50),
      })
      .prefault({}),
    /** Silent for this long (no frame, no PONG to our pings): cut. The engine pings in time. */
    idleTimeout: duration({ min: 8_000, max: 960_000 }).default(120_000),
    batching: Batching,
    slowConsumer: z
      .strictObject({
        /** Bytes queued for one socket beyond the kernel's buffer. At least two full frames. */
        maxBuffer: size({ min: 16_384, max: 67_108_864 }).default(1_048_576),
        /** skip: mark, skip, tell by LAGGED once drained. close: end with 4003. */
        policy: z.enum(['skip', 'close']).default('skip'),
      })
      .prefault({}),
    drain: z
      .strictObject({
        /** Connections asked to move (or closed) a second; rises as needed to be done in time. */
        rate: z.number().int().min(1).default(200),
        /** How long a leaving gateway still accepts. */
        settle: duration({ min: 0, max: 300_000 }).default(5_000),
        /** From the end of settle to the end of the process. */
        timeout: duration({ min: 1_000, max: 3_600_000 }).default(300_000),
        /**
         * A file that asks to drain while it holds a time (RFC 3339): connections are moved away until `timeout` from
         * that time, and new ones are still taken. Empty or absent: it serves.
         */
        file: z.string().min(1).optional(),
      })
      .prefault({}),
    /** A gateway far fuller than the others moves its surplus away, so that new gateways fill. */
    rebalance: z
      .strictObject({
        /** Times the average of all gateways from where on it moves. */
        threshold: z.number().min(1.05).max(100).default(1.2),
        /** Connections asked to move a second, by all gateways together; 0: never. */
        rate: count.default(100),
        /** Down to this many connections at least. */
        minimum: count.default(500),
        /** Also those who don't understand RECONNECT, by closing them with 1012. */
        moveOthers: z.boolean().default(false),
      })
      .prefault({}),
    /** From where on new connections are refused, before a resource gives out. Who is connected stays. */
    protection: z
      .strictObject({
        /** Share of the memory limit (the cgroup's, or else what the host has available); 1: never. */
        memory: z.number().min(0.1).max(1).default(0.9),
        /** Share of the descriptors that a shard may open; 1: only the last few are kept free. */
        fds: z.number().min(0.1).max(1).default(0.98),
        /** How late a loop may serve, about, over the last seconds; 0: however late. */
        loopLag: duration({ min: 0, max: 60_000 }).default(500),
        /** Sockets of one shard that have yet to become a WebSocket: over it 503, over twice of it they are cut unread. */
        handshakes: z.number().int().min(10).max(1_000_000).default(3_000),
      })
      .prefault({}),
    shardWatch: z
      .strictObject({
        /** A shard silent for this long is killed and replaced. */
        hangTimeout: duration({ min: 3_000, max: 120_000 }).default(10_000),
        /** Bytes of frames on their way to one shard; over it frames are dropped, counted and told. */
        maxInFlight: size({ min: 1_048_576, max: 1_073_741_824 }).default(67_108_864),
      })
      .prefault({}),
    tls: z.strictObject({ certFile: z.string(), keyFile: z.string() }).optional(),
    /** Take the client's address from the PROXY protocol. Only behind a balancer that always sends it; costs a copy of every byte. */
    proxyProtocol: z.boolean().default(false),
    /**
     * How many proxies in front of the gateway add to X-Forwarded-For, each the address that it saw: so many of its last entries are
     * trusted. false: 0, true: 1. Only behind proxies that always add it.
     */
    forwardedHeaders: z
      .union([z.boolean(), z.number().int().min(0).max(MAX_HOPS)], {
        error: `must be true, false or the number of proxies, 0 to ${MAX_HOPS}`,
      })
      .default(false)
      .transform(Number),
    /** Serve the test console at `/`, and the diagnostic echo at `/ws`. */
    console: z.boolean().default(false),
    echo: z.boolean().default(false),
    /** URL of the push API for the console, as the browser reaches it. */
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
  /** Shown in logs and metrics' place; never the key itself. */
  name: z.string().min(1).max(64),
  /** File with one key a line; two lines are two valid keys, for rotation. Read again when it changes. */
  file: z.string(),
  /** What it may do; all of it where absent. */
  scope: z
    .strictObject({
      all: z.boolean().default(false),
      rooms: z.array(NamePattern).default([]),
      users: z.array(NamePattern).default([]),
      /** Disconnect users and rooms that its patterns match. */
      disconnect: z.boolean().default(false),
      /** Rooms, users and stats. */
      read: z.boolean().default(false),
    })
    .optional(),
});

export const LogicSettings = z
  .strictObject({
    /** Where it listens; on loopback only while there are no API keys. */
    host: z.string().default('0.0.0.0'),
    port: port.default(7799),
    /** None: only loopback is served. */
    apiKeys: z.array(ApiKey).default([]),
    /** Origins of pages that may push from a browser. */
    allowedOrigins: z.array(originPattern).default([]),
    limits: z
      .strictObject({
        body: size({ min: 1_024, max: 67_108_864 }).default(1_048_576),
        items: z.number().int().min(1).max(100_000).default(1_000),
        item: size({ min: 1, max: 1_048_576 }).default(32_768),
      })
      .prefault({}),
    /** Pushes with `urgent` a second over all rooms; more get 429. */
    urgentRate: count.default(100),
    /** How long a push waits for the bus before 503. */
    publishTimeout: duration({ min: 100, max: 30_000 }).default(2_000),
    /** How long gateways may take to answer a question. */
    askTimeout: duration({ min: 50, max: 10_000 }).default(500),
    drain: z
      .strictObject({
        settle: duration({ min: 0, max: 300_000 }).default(5_000),
        timeout: duration({ min: 1_000, max: 3_600_000 }).default(30_000),
      })
      .prefault({}),
  })
  .prefault({});

/** What is fetched: by HTTP, and without a password, which `fetch` refuses. */
const JwksUrl = z.url({ protocol: /^https?$/ }).refine((url) => URL.parse(url)?.username === '', {
  message: "must be without a user's name and password",
});

export const AuthSettings = z
  .strictObject({
    jwt: z
      .strictObject({
        /** HS256: a file with secrets, one a line. Read again when it changes. */
        secretFile: z.string().optional(),
        /** RS256 and ES256: a JWKS by URL or file. */
        jwksUrl: JwksUrl.optional(),
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
      .optional(),
    /** Whether connections without a token are allowed. Absent: only where no jwt is set. */
    anonymous: z.boolean().optional(),
    /** Origins whose pages may connect, with `*` for any run of characters. Empty: any. */
    allowedOrigins: z.array(originPattern).default([]),
  })
  .refine((auth) => auth.anonymous !== false || auth.jwt !== undefined, {
    path: ['anonymous'],
    message: 'is false but there is no auth.jwt: nobody could connect',
  })
  .prefault({});

export const NatsSettings = z.strictObject({
  /** `nats://host:port` or `tls://host:port`; several are one cluster. */
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
  /** A cut network is noticed after two to three of these. */
  pingInterval: duration({ min: 200, max: 60_000 }).default(2_000),
});

/** Whether listening there is listening on every address. */
function isAnyHost(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

export const Settings = z
  .strictObject({
    /** Set by who renders the file; shown as a metric. Absent: counts the reloads. */
    generation: z.number().int().min(0).optional(),
    gateway: GatewaySettings,
    logic: LogicSettings,
    rooms: z.array(RoomPolicy).default([]),
    auth: AuthSettings,
    bus: z
      .strictObject({
        /** First tokens of all subjects: clusters that share a NATS differ in it. */
        prefix: z
          .string()
          .regex(
            /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/,
            'must be NATS tokens of letters, digits, "_" and "-", joined by dots',
          )
          .max(64)
          .default('pushcluster'),
        /** Absent: the in-process bus, which serves one process. */
        nats: NatsSettings.optional(),
      })
      .prefault({}),
    admin: z.strictObject({ host: z.string().default('0.0.0.0'), port: port.default(9090) }).prefault({}),
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
