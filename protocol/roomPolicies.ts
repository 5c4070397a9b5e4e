import { z } from 'zod';
import { matches, overlap } from './pattern.ts';
import { duration, size } from './units.ts';

/** A pattern of names of rooms or users: literal text with `*` for any run of characters. */
export const NamePattern = z.string().min(1).max(128);

/** Bounds of how a channel's messages are merged to frames. */
const bounds = {
  /**
   * Shortest wait of a frame for further items. 0: the first message of a quiet channel leaves at once. It is not longer
   * than maxDelay.
   */
  minDelay: duration({ min: 0, max: 10_000 }),
  /** Longest wait of an item for its frame; 0: a frame at once for every message. */
  maxDelay: duration({ min: 0, max: 10_000 }),
  /** Items in a frame at most. */
  maxItems: z.number().int().min(1).max(10_000),
  /** Bytes of items in a frame at most; one larger item goes alone. */
  maxBytes: size({ min: 1_024, max: 1_048_576 }),
};

/** The gateway's own rules: they apply to all, to users, and to whatever a room's policy does not set. */
export const Batching = z
  .strictObject({
    minDelay: bounds.minDelay.default(0),
    maxDelay: bounds.maxDelay.default(1_000),
    /** Whether windows are as short as the gateway can afford. If not, they are always as long as maxDelay. */
    adaptive: z.boolean().default(true),
    maxItems: bounds.maxItems.default(1_000),
    maxBytes: bounds.maxBytes.default(262_144),
    /** Whether `pushcluster.v1.deflate` is offered. */
    compression: z.boolean().default(true),
    /** Pushes with `urgent` that flush a room's window, per second and room; more are merged as usual. 0: none. */
    urgentRate: z.number().int().min(0).default(10),
  })
  .prefault({});
export type Batching = z.infer<typeof Batching>;

/** What a room does with more items than `maxRate` per second: keep a random sample, the newest, or the oldest. */
export const Overload = z.strictObject({
  maxRate: z.number().positive().max(1_000_000),
  policy: z.enum(['sample', 'dropOldest', 'dropNewest']).default('sample'),
});
export type Overload = z.infer<typeof Overload>;

/** Which pushes of a room are kept, so that clients can resume after a reconnect and late comers get the last ones. */
export const RoomHistory = z.strictObject({
  /** Pushes kept of each room at most. */
  messages: z.number().int().min(1).max(10_000).default(100),
  /** How long a push is kept at most. Not less than the time for which a retry of a push is recognised. */
  maxAge: duration({ min: 120_000, max: 2_592_000_000 }).default(3_600_000),
  /** Copies on different NATS servers: 3 needs a cluster of three servers or more. */
  replicas: z.literal([1, 3]).default(1),
});
export type RoomHistory = z.infer<typeof RoomHistory>;
/** The history of rooms, and the pattern of their policy. */
export type HistoryPolicy = RoomHistory & { match: string };

/** Settings of the rooms whose name matches. If several policies match a name, the first one counts. */
export const RoomPolicy = z
  .strictObject({
    match: NamePattern,
    batching: z
      .strictObject({
        minDelay: bounds.minDelay.optional(),
        maxDelay: bounds.maxDelay.optional(),
        adaptive: z.boolean().optional(),
        maxItems: bounds.maxItems.optional(),
        maxBytes: bounds.maxBytes.optional(),
      })
      .optional(),
    overload: Overload.optional(),
    history: RoomHistory.optional(),
  })
  .refine(({ overload, history }) => overload === undefined || history === undefined, {
    path: ['overload'],
    message: 'cannot be set together with history: what overload cuts would be missing in a history that is exact',
  });
export type RoomPolicy = z.infer<typeof RoomPolicy>;

/** The part of the settings that rooms' rules come from. */
export type RoomSettings = { gateway: { batching: Batching }; rooms: readonly RoomPolicy[] };

/** How the messages of one room, of one user or of all are merged to frames, and what happens above a rate. */
export type ChannelRules = {
  /** The shortest that a frame waits for further items, milliseconds. Not more than maxDelay. */
  minDelay: number;
  /** The longest that an item waits for its frame, milliseconds. */
  maxDelay: number;
  /** Windows may be shorter than maxDelay. */
  adaptive: boolean;
  /** Items in a frame at most. */
  maxItems: number;
  /** Bytes of items in a frame at most; one larger item goes alone. */
  maxBytes: number;
  /** Items a second at most, and which items are cut when there are more. Undefined: no limit. */
  overload?: Overload | undefined;
  /** The history of the room, and the pattern of its policy. Undefined: none. */
  history?: HistoryPolicy | undefined;
};

/** The policy of a room: the first whose pattern matches the name. */
export function policyOf(room: string, policies: readonly RoomPolicy[]): RoomPolicy | undefined {
  return policies.find(({ match }) => matches(match, room));
}

/** Earlier policies by policies and pattern: gateways ask for them with each look at a stream. */
const earlier = new WeakMap<readonly RoomPolicy[], Map<string, readonly string[]>>();

/** Patterns of the policies before that of `match` which match some of its rooms: these rooms are not of its policy. */
export function earlierThan(match: string, policies: readonly RoomPolicy[]): readonly string[] {
  const ofPolicies = earlier.get(policies) ?? new Map<string, readonly string[]>();
  earlier.set(policies, ofPolicies);
  const known = ofPolicies.get(match);
  if (known) return known;
  const own = policies.findIndex((policy) => policy.match === match);
  const found = policies.slice(0, own).flatMap((policy) => (overlap(policy.match, match) ? [policy.match] : []));
  ofPolicies.set(match, found);
  return found;
}

/** The history that a policy gives its rooms; undefined if it gives none. */
export function historyOf({ history, match }: RoomPolicy): HistoryPolicy | undefined {
  return history && { ...history, match };
}

/** Rules by settings and policy: one object for all channels that have the same, of which there may be 100,000. */
const known = new WeakMap<object, Map<RoomPolicy | undefined, ChannelRules>>();

/**
 * The rules of a channel: what the room's policy sets, and the gateway's own for the rest.
 * @param room undefined for `all` and for users, which have no policy
 */
export function rulesFor(room: string | undefined, { gateway, rooms }: RoomSettings): ChannelRules {
  const policy = room === undefined ? undefined : policyOf(room, rooms);
  const ofSettings = known.get(gateway) ?? new Map<RoomPolicy | undefined, ChannelRules>();
  known.set(gateway, ofSettings);
  const rules = ofSettings.get(policy) ?? rulesUnder(policy, gateway);
  ofSettings.set(policy, rules);
  return rules;
}

function rulesUnder(policy: RoomPolicy | undefined, gateway: RoomSettings['gateway']): ChannelRules {
  const { minDelay, maxItems, maxBytes, adaptive } = gateway.batching;
  const maxDelay = policy?.batching?.maxDelay ?? gateway.batching.maxDelay;
  return {
    minDelay: Math.min(policy?.batching?.minDelay ?? minDelay, maxDelay),
    maxDelay,
    adaptive: policy?.batching?.adaptive ?? adaptive,
    maxItems: policy?.batching?.maxItems ?? maxItems,
    maxBytes: policy?.batching?.maxBytes ?? maxBytes,
    overload: policy?.overload,
    history: policy && historyOf(policy),
  };
}

/** The longest that an item of any room, of `all` or of a user may wait for its frame, milliseconds. */
export function longestWindow({ gateway, rooms }: RoomSettings): number {
  return Math.max(gateway.batching.maxDelay, ...rooms.map(({ batching }) => batching?.maxDelay ?? 0));
}

/** Bytes of items in the largest frame of any room, of `all` or of a user; a larger single item goes alone. */
export function largestFrame({ gateway, rooms }: RoomSettings): number {
  return Math.max(gateway.batching.maxBytes, ...rooms.map(({ batching }) => batching?.maxBytes ?? 0));
}
