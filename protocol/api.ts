import { z } from 'zod';
import { MAX_REASON_BYTES } from './closeCodes.ts';
import { GatewayStats } from './control.ts';
import { nameProblem } from './names.ts';

/**
 * The push API of logic, version 1: what backends send and get. Schemas are strict: an unknown key is refused by name,
 * since a misspelt `urgent` that is silently ignored costs a day.
 */

/** Rooms or users in one request, at most. */
export const MAX_TARGETS = 1_000;
/** Longest `id`, in bytes of UTF-8: with the number of the part it stays within a bus message's 255. */
export const MAX_ID_BYTES = 200;

const Name = z.string().superRefine((name, context) => {
  const problem = nameProblem(name);
  if (problem) context.addIssue({ code: 'custom', message: problem });
});

export const RoomName = Name.meta({ description: 'A room: any UTF-8 of 1 to 128 bytes.', examples: ['live-42'] });
export const UserName = Name.meta({
  description: 'A user, as `sub` in their token: any UTF-8 of 1 to 128 bytes.',
  examples: ['alice'],
});

/** Who gets a push. */
export type Target =
  | { type: 'all' }
  | { type: 'room'; room: string }
  | { type: 'rooms'; rooms: string[] }
  | { type: 'user'; user: string }
  | { type: 'users'; users: string[] };

export const To = z
  .strictObject({
    all: z.literal(true).optional().describe('Every connection of the cluster.'),
    room: RoomName.optional(),
    rooms: z.array(RoomName).min(1).max(MAX_TARGETS).optional().describe('Several rooms; a repeated name counts once.'),
    user: UserName.optional(),
    users: z.array(UserName).min(1).max(MAX_TARGETS).optional().describe('Several users; a repeated name counts once.'),
  })
  .meta({ minProperties: 1, maxProperties: 1 })
  .transform((to, context): Target => {
    const given = Object.values(to).filter((value) => value !== undefined).length;
    if (given === 1) {
      if (to.all) return { type: 'all' };
      if (to.room !== undefined) return { type: 'room', room: to.room };
      if (to.rooms) return { type: 'rooms', rooms: [...new Set(to.rooms)] };
      if (to.user !== undefined) return { type: 'user', user: to.user };
      if (to.users) return { type: 'users', users: [...new Set(to.users)] };
    }
    context.addIssue({ code: 'custom', message: 'needs exactly one of all, room, rooms, user and users' });
    return z.NEVER;
  });

export const PushRequest = z
  .strictObject({
    to: To.describe('Who gets it: exactly one of `all`, `room`, `rooms`, `user` and `users`.'),
    items: z
      .array(z.unknown())
      .min(1)
      .describe('JSON values of any kind. They reach the clients byte for byte as they stand here, in this order.'),
    urgent: z
      .boolean()
      .default(false)
      .describe(
        'Send now, with all that is queued before it, rather than at the end of the merge window. Rate-limited.',
      ),
    id: z
      .string()
      .min(1)
      .refine((id) => id.isWellFormed() && Buffer.byteLength(id) <= MAX_ID_BYTES, {
        message: `must be well-formed Unicode of at most ${MAX_ID_BYTES} bytes of UTF-8`,
      })
      .optional()
      .describe(
        'Makes a retry harmless for two minutes, through any logic process: repeat the request with the same id.',
      ),
  })
  .meta({ examples: [{ to: { room: 'live-42' }, items: [{ user: 'alice', text: 'hi' }], id: 'comment-1017' }] });
export type PushRequest = z.output<typeof PushRequest>;

export const PushFailure = z.object({
  room: z.string(),
  code: z.string().describe('The code of the problem, such as `bus_unavailable`.'),
});
export type PushFailure = z.infer<typeof PushFailure>;

export const Accepted = z
  .object({ accepted: z.number().int().describe('Items taken from this request.') })
  .meta({ examples: [{ accepted: 1 }] });

export const PartlyAccepted = z
  .object({ accepted: z.number().int(), failed: z.array(PushFailure).describe('The rooms that it did not reach.') })
  .meta({ examples: [{ accepted: 1, failed: [{ room: 'live-43', code: 'bus_unconfirmed' }] }] });

/** How complete an answer is. */
export const Asked = z
  .object({
    asked: z.number().int().describe('Gateways that there are: those that answered, and those known that did not.'),
    answered: z.number().int().describe('Gateways that answered in time, with all of their shards.'),
  })
  .meta({ examples: [{ asked: 3, answered: 3 }] });
export type Asked = z.infer<typeof Asked>;

const partial = z
  .literal(true)
  .optional()
  .describe('The numbers lack something: a gateway or a part of one that did not answer in time. Absent: nothing.');

/** Rooms in a list where the request says nothing. */
export const DEFAULT_ROOMS = 100;

/** A parameter that is a whole number in digits: `Number` would take "", "0x10" and "1e2" as well. */
function wholeNumber(schema: z.ZodNumber) {
  return z.preprocess((text) => (typeof text === 'string' && /^\d+$/.test(text) ? Number(text) : text), schema);
}

export const RoomsQuery = z
  .strictObject({
    limit: wholeNumber(z.number().int().min(1).max(1_000))
      .optional()
      .describe(`Rooms in the list, at most; ${DEFAULT_ROOMS} by default.`),
    room: RoomName.optional().describe('This room alone: also one that a path can not name, such as `..`.'),
  })
  .refine(({ limit, room }) => limit === undefined || room === undefined, {
    path: ['limit'],
    message: 'must not be used together with room',
  });

export const Rooms = z
  .object({
    rooms: z.array(z.object({ room: z.string(), connections: z.number().int() })).describe('The fullest first.'),
    gateways: Asked,
    partial: z
      .literal(true)
      .optional()
      .describe(
        'The list lacks something: a gateway or a part of one did not answer in time, or gateways cut their lists, which have 512 KiB at most. Absent: nothing.',
      ),
    total: z
      .number()
      .int()
      .optional()
      .describe('Where it is partial: rooms that there are, on one gateway exactly, on several at least.'),
  })
  .meta({ examples: [{ rooms: [{ room: 'live-42', connections: 1200 }], gateways: { asked: 3, answered: 3 } }] });

export const RoomParams = z.strictObject({ room: RoomName });
export const Room = z
  .object({ room: z.string(), connections: z.number().int(), gateways: Asked, partial })
  .meta({ examples: [{ room: 'live-42', connections: 1200, gateways: { asked: 3, answered: 3 } }] });

export const UsersQuery = z.strictObject({
  user: UserName.describe('The user: also one that a path can not name, such as `..`.'),
});
export const UserParams = z.strictObject({ user: UserName });
export const User = z
  .object({
    user: z.string(),
    connections: z.number().int(),
    byGateway: z
      .array(z.object({ gateway: z.string(), connections: z.number().int() }))
      .describe('The gateways that hold a connection of this user.'),
    gateways: Asked,
    partial,
  })
  .meta({
    examples: [
      {
        user: 'alice',
        connections: 2,
        byGateway: [{ gateway: 'gateway-7c9f', connections: 2 }],
        gateways: { asked: 3, answered: 3 },
      },
    ],
  });

export const DisconnectRequest = z
  .strictObject({
    user: UserName.optional().describe("Closes this user's connections with code 4002."),
    room: RoomName.optional().describe('Takes everyone out of this room; their connections stay.'),
    reason: z
      .string()
      .refine((reason) => reason.isWellFormed() && Buffer.byteLength(reason) <= MAX_REASON_BYTES, {
        message: `must be well-formed Unicode of at most ${MAX_REASON_BYTES} bytes of UTF-8`,
      })
      .default('disconnected by the API')
      .describe('Told to the clients.'),
  })
  .meta({ examples: [{ user: 'alice', reason: 'banned' }] })
  .transform((request, context) => {
    const { user, room, reason } = request;
    if (user !== undefined && room === undefined) return { type: 'user' as const, user, reason };
    if (room !== undefined && user === undefined) return { type: 'room' as const, room, reason };
    context.addIssue({ code: 'custom', message: 'needs exactly one of user and room' });
    return z.NEVER;
  });

export const Disconnected = z
  .object({ gateways: z.object({ told: z.number().int().describe('Gateways known when they were told.') }) })
  .meta({ examples: [{ gateways: { told: 3 } }] });

export const Stats = z
  .object({
    totals: z
      .object({
        connections: z.number(),
        messagesDelivered: z.number(),
        framesSent: z.number(),
        bytesSent: z.number(),
        messagesDropped: z.number(),
      })
      .describe('Sums over the gateways that answered, each since its own start.'),
    byGateway: z.array(GatewayStats),
    gateways: Asked,
    partial,
  })
  .meta({
    examples: [
      {
        totals: { connections: 2, messagesDelivered: 40, framesSent: 8, bytesSent: 4210, messagesDropped: 0 },
        byGateway: [
          {
            gateway: 'gateway-7c9f',
            connections: 2,
            rooms: 1,
            shards: 1,
            messagesDelivered: 40,
            framesSent: 8,
            bytesSent: 4210,
            messagesDropped: 0,
            draining: false,
            startedAt: 1_790_000_000_000,
          },
        ],
        gateways: { asked: 1, answered: 1 },
      },
    ],
  });

/** go-push's own counters, under its own names. */
export const GoPushStats = z
  .object({
    DispatchTotal: z.number().int().describe('Items published.'),
    DispatchFail: z.number().int().describe('Items refused because the bus was away or full.'),
    PushFail: z.number().int().describe('Requests that were sent but not confirmed.'),
  })
  .meta({ examples: [{ DispatchTotal: 12, DispatchFail: 0, PushFail: 0 }] });

/** An error, as RFC 9457 has it. */
export const ProblemDocument = z
  .object({
    type: z.string().describe('Where the problem is described: a path of this server.'),
    title: z.string(),
    status: z.number().int(),
    code: z.string().describe('Stable: what a program decides by.'),
    detail: z.string().describe('What is wrong here, and what to do.'),
    errors: z
      .array(
        z.object({
          pointer: z.string().optional().describe('A JSON pointer into the body.'),
          parameter: z.string().optional().describe('A parameter of the path or the query.'),
          detail: z.string(),
        }),
      )
      .optional()
      .describe('Where in the request; ten places at most.'),
  })
  .meta({
    examples: [
      {
        type: '/docs#item_too_large',
        title: 'An item is too large',
        status: 413,
        code: 'item_too_large',
        detail: 'items[17] has 40000 bytes; at most 32768 are allowed.',
        errors: [{ pointer: '#/items/17', detail: 'has 40000 bytes; at most 32768 are allowed' }],
      },
    ],
  });
