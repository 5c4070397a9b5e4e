import { z } from 'zod';

/** What logic asks of, or tells, every gateway on the command subject (JSON). Unknown commands are ignored. */
export const Command = z.discriminatedUnion('type', [
  z.object({ type: z.literal('disconnect_user'), user: z.string(), reason: z.string() }),
  z.object({ type: z.literal('disconnect_room'), room: z.string(), reason: z.string() }),
  /** Questions are answered on `reply` with the same `ask`. */
  z.object({ type: z.literal('rooms'), reply: z.string(), ask: z.string(), limit: z.number().int() }),
  z.object({ type: z.literal('room'), reply: z.string(), ask: z.string(), room: z.string() }),
  z.object({ type: z.literal('user'), reply: z.string(), ask: z.string(), user: z.string() }),
  z.object({ type: z.literal('stats'), reply: z.string(), ask: z.string() }),
]);
export type Command = z.infer<typeof Command>;
export type Question = Extract<Command, { ask: string }>;

/** A gateway notifies the others, if a user may have one session: it has opened one, and older ones are to be closed. */
export const SessionOpened = z.object({
  gateway: z.string(),
  user: z.string(),
  /** Milliseconds since the epoch: what versions without `order` go by. */
  at: z.number(),
  /** Higher is newer; of two that are the same, that of the gateway whose name is greater. Absent from older versions. */
  order: z.number().int().optional(),
});
export type SessionOpened = z.infer<typeof SessionOpened>;

/** Some of the sessions that a gateway holds, published again after the bus was unavailable. */
export const HeldSessions = z.object({
  gateway: z.string(),
  held: z.array(z.tuple([z.string(), z.number().int()])),
});
export type HeldSessions = z.infer<typeof HeldSessions>;

/** Totals of one gateway since its start. */
export const GatewayStats = z.object({
  gateway: z.string(),
  connections: z.number(),
  rooms: z.number(),
  shards: z.number(),
  messagesDelivered: z.number(),
  framesSent: z.number(),
  bytesSent: z.number(),
  messagesDropped: z.number(),
  draining: z.boolean(),
  /** Milliseconds since the epoch. */
  startedAt: z.number(),
});
export type GatewayStats = z.infer<typeof GatewayStats>;

/** How far a gateway has followed the histories of rooms: by epoch, the largest sequence number. */
export const Histories = z.record(z.string(), z.number());
export type Histories = z.infer<typeof Histories>;

/** A gateway's report, every STAT_INTERVAL_MS on its stat subject, and with `leaving` as its last word. */
export const Stat = GatewayStats.extend({
  leaving: z.boolean().default(false),
  /** Connections that it has not asked to move: those asked are counted where they go. Absent from older versions. */
  unasked: z.number().optional(),
  /** It moves what it has above the average. */
  rebalancing: z.boolean().default(false),
  /** How often it has connected to the bus: more than before means that it was away. 0 from older versions. */
  busConnections: z.number().default(0),
  /** What it is an instance of: gateways of one rollout say the same. Empty from older versions. */
  template: z.string().default(''),
  /** Empty from older versions. */
  histories: Histories.default({}),
});
export type Stat = z.infer<typeof Stat>;

export const STAT_INTERVAL_MS = 2_000;
/** The same of a gateway that moves its connections away: others share a pace with it. */
export const MOVING_STAT_INTERVAL_MS = 1_000;
/** Logic does not wait for the answer of a gateway that was not heard for this long, milliseconds. */
export const STAT_STALE_MS = 7_000;

/** Rooms that one answer names at most: a question for more gets so many. */
export const MAX_ROOMS_ANSWERED = 4_000;

export const RoomCount = z.object({ room: z.string(), connections: z.number() });
export type RoomCount = z.infer<typeof RoomCount>;

/** Shards of the gateway that did not answer in time: theirs is not in the numbers. Absent: none, or an older version. */
const missing = z.number().int().optional();
/** Gateways that this one knows of, itself included: those that don't answer are missing. Absent from older versions. */
const gateways = z.number().int().optional();

/** A gateway's answer to a question. */
export const Answer = z.discriminatedUnion('type', [
  /** The fullest rooms on this gateway: at most the `limit` asked for, and as many as an answer may be long. */
  z.object({
    type: z.literal('rooms'),
    ask: z.string(),
    gateway: z.string(),
    rooms: z.array(RoomCount),
    /** Rooms with a member on this gateway. Absent from older versions. */
    total: z.number().int().optional(),
    missing,
    gateways,
  }),
  z.object({
    type: z.literal('room'),
    ask: z.string(),
    gateway: z.string(),
    connections: z.number(),
    missing,
    gateways,
  }),
  z.object({
    type: z.literal('user'),
    ask: z.string(),
    gateway: z.string(),
    connections: z.number(),
    missing,
    gateways,
  }),
  z.object({
    type: z.literal('stats'),
    ask: z.string(),
    gateway: z.string(),
    stats: GatewayStats,
    /** Absent from older versions. */
    histories: Histories.optional(),
    missing,
    gateways,
  }),
]);
export type Answer = z.infer<typeof Answer>;
