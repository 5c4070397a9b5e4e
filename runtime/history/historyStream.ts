import { hash } from 'node:crypto';
import { roomOfToken, roomToken } from '@pushcluster/protocol/subjects.ts';
import { z } from 'zod';
import {
  DUPLICATE_WINDOW_MS,
  type HistoryRules,
  type StreamState,
  type StreamUsage,
  untouchedFrom,
} from './historyStore.ts';

const MS = 1_000_000;
/** Milliseconds after which a replica that was not heard of does not follow its leader. They hear of each other each second. */
const SILENT_MS = 3_000;

/** Keys of a stream's metadata. Updates by others keep them. */
const METADATA = {
  /** Random at creation. Another value is another epoch. */
  nonce: 'pushcluster.nonce',
  /** StreamState's `floor`; UNKNOWN while limits are being raised. */
  floor: 'pushcluster.floor',
  /** While limits are being raised, the least that were in force before: pushes and nanoseconds. */
  before: 'pushcluster.before',
  match: 'pushcluster.match',
  /** There if the policy has gone: since then, pushes of its rooms went elsewhere. */
  retired: 'pushcluster.retired',
  /** Keys of the patterns of earlier policies that match some of the same rooms. */
  earlier: 'pushcluster.earlier',
} as const;
const UNKNOWN = 'unknown';

/** The stream of a policy, and its subjects. */
export type HistoryStream = {
  name: string;
  match: string;
  /** Pattern of the subjects of its rooms. */
  subjects: string;
  /** Subject on which NATS delivers what it has stored. */
  delivered: string;
};

export function historyStream(prefix: string, match: string): HistoryStream {
  const key = keyOf(match);
  return {
    name: `${prefix.replaceAll('.', '_')}_H_${key}`,
    match,
    subjects: `${prefix}.hist.${key}.*`,
    delivered: `${prefix}.out.room.{{wildcard(1)}}`,
  };
}

function keyOf(match: string): string {
  return hash('sha256', match, 'hex').slice(0, 8);
}

export function subjectIn(stream: HistoryStream, room: string): string {
  return stream.subjects.slice(0, -1) + roomToken(room);
}

/** Whether NATS delivers on `delivered` what it stores under `stored`, whatever the stream. */
export function isDeliveredAs(stored: string, delivered: string): boolean {
  return stored.replace(/\.hist\.[0-9a-f]{8}\.([^.]+)$/, '.out.room.$1') === delivered;
}

export function roomIn(stream: HistoryStream, subject: string): string {
  return roomOfToken(subject.slice(stream.subjects.length - 1));
}

/** What this project reads of a stream's configuration. NATS gives more, which an update must send back. */
export const StreamInfo = z.looseObject({
  config: z.looseObject({
    subjects: z.array(z.string()),
    max_msgs_per_subject: z.number(),
    /** Nanoseconds. */
    max_age: z.number(),
    num_replicas: z.number(),
    storage: z.string(),
    metadata: z.record(z.string(), z.string()).optional(),
  }),
  created: z.string(),
  /** When the server answered, by its clock. */
  ts: z.string(),
  state: z.looseObject({
    first_seq: z.number(),
    last_seq: z.number(),
    messages: z.number(),
    bytes: z.number(),
    first_ts: z.string(),
  }),
  /** Of a stream with several replicas, those that do not lead; `active`: nanoseconds since they were heard of last. */
  cluster: z.looseObject({ replicas: z.array(z.looseObject({ active: z.number() })).optional() }).optional(),
});
export type StreamInfo = z.infer<typeof StreamInfo>;

/**
 * Whether the server that answered has heard of enough replicas to be their leader still. One that has not may answer for
 * many seconds what it knew.
 */
export function isLed({ cluster }: StreamInfo): boolean {
  const replicas = cluster?.replicas ?? [];
  const heard = replicas.filter(({ active }) => active < SILENT_MS * MS).length;
  return heard + 1 > (replicas.length + 1) / 2;
}

/** The configuration of a new stream. */
export function streamConfig(stream: HistoryStream, rules: HistoryRules, nonce: string): object {
  return {
    name: stream.name,
    subjects: [stream.subjects],
    retention: 'limits',
    storage: rules.storage,
    num_replicas: rules.replicas,
    max_msgs_per_subject: rules.messages,
    max_age: rules.maxAge * MS,
    discard: 'old',
    allow_direct: true,
    // Pushes leave a history by its limits only: what is missing for another reason would be lost without a trace.
    deny_delete: true,
    deny_purge: true,
    duplicate_window: Math.min(DUPLICATE_WINDOW_MS, rules.maxAge) * MS,
    republish: { src: stream.subjects, dest: stream.delivered },
    metadata: {
      [METADATA.nonce]: nonce,
      [METADATA.floor]: '0',
      [METADATA.match]: stream.match,
      [METADATA.earlier]: earlierText(rules),
    },
  };
}

/** Whether the stream was made for this policy, and by this project: others may have one of the same name. */
export function isOurs({ config }: StreamInfo, stream: HistoryStream): boolean {
  const { subjects, metadata } = config;
  return subjects.length === 1 && subjects[0] === stream.subjects && metadata?.[METADATA.match] === stream.match;
}

/**
 * The configuration that brings an existing stream to `rules`; undefined if it has them.
 *
 * Raising a limit takes two updates: the first raises it, with an unknown floor, and the second writes as the floor what
 * was stored by then, or less if the former limits had removed nothing. A floor that is known was therefore read under the
 * present limits, whoever else updates meanwhile.
 */
export function changedConfig(info: StreamInfo, rules: HistoryRules): object | undefined {
  const { config } = info;
  const limits = {
    max_msgs_per_subject: rules.messages,
    max_age: rules.maxAge * MS,
    num_replicas: rules.replicas,
    duplicate_window: Math.min(DUPLICATE_WINDOW_MS, rules.maxAge) * MS,
  };
  const isRaised = rules.messages > config.max_msgs_per_subject || rules.maxAge * MS > config.max_age;
  const isSame =
    config.max_msgs_per_subject === limits.max_msgs_per_subject &&
    config.max_age === limits.max_age &&
    config.num_replicas === limits.num_replicas;
  const isPending = isBeingRaised(info);
  const hasOtherRooms = isRetired(info) || config.metadata?.[METADATA.earlier] !== earlierText(rules);
  if (isSame && !isPending && !hasOtherRooms) return undefined;
  const { [METADATA.before]: before, [METADATA.retired]: _, ...metadata } = config.metadata ?? {};
  metadata[METADATA.earlier] = earlierText(rules);
  if (hasRoomsBack(info, rules)) metadata[METADATA.nonce] = nonceAfter(info, 'rooms came back');
  if (isRaised) {
    metadata[METADATA.floor] = UNKNOWN;
    const least = isPending ? before && leastOf(before, config) : leastOf(undefined, config);
    if (least) metadata[METADATA.before] = least;
  } else if (isPending) metadata[METADATA.floor] = `${floorAtRaise(info) ?? info.state.last_seq}`;
  return { ...config, ...limits, metadata };
}

/** The configuration of a stream whose policy has gone; undefined if it has it. */
export function retiredConfig(info: StreamInfo): object | undefined {
  const { config } = info;
  return isRetired(info) ? undefined : { ...config, metadata: { ...config.metadata, [METADATA.retired]: 'true' } };
}

function isRetired({ config }: StreamInfo): boolean {
  return config.metadata?.[METADATA.retired] !== undefined;
}

/** Whether pushes of some of its rooms went elsewhere until now. A stream of a former version does not say so. */
export function hasRoomsBack(info: StreamInfo, { earlier }: Pick<HistoryRules, 'earlier'>): boolean {
  const before = info.config.metadata?.[METADATA.earlier];
  const now = new Set(earlier.map(keyOf));
  return isRetired(info) || (before?.split(' ') ?? []).some((key) => key !== '' && !now.has(key));
}

function earlierText({ earlier }: HistoryRules): string {
  return earlier.map(keyOf).sort().join(' ');
}

function isBeingRaised({ config }: StreamInfo): boolean {
  return config.metadata?.[METADATA.floor] === UNKNOWN;
}

/** The value of METADATA.before with the limits of `config`. */
function leastOf(before: string | undefined, { max_msgs_per_subject, max_age }: StreamInfo['config']): string {
  const [messages, age] = before?.split(' ').map(Number) ?? [];
  return `${Math.min(messages ?? max_msgs_per_subject, max_msgs_per_subject)} ${Math.min(age ?? max_age, max_age)}`;
}

/** The floor while limits are being raised; undefined if the former ones may have removed something. */
function floorAtRaise({ config, ts, state }: StreamInfo): number | undefined {
  const [messages = 0, age = 0] = config.metadata?.[METADATA.before]?.split(' ').map(Number) ?? [];
  const kept = {
    ...{ first: state.first_seq, last: state.last_seq, pushes: state.messages },
    age: Date.parse(ts) - Date.parse(state.first_ts),
  };
  return untouchedFrom(kept, { messages, maxAge: age / MS });
}

/** The configuration of the same stream in another epoch, which follows on `known`: the same for all who know the same. */
export function renewedConfig(info: StreamInfo, known: string): object {
  const { config } = info;
  return { ...config, metadata: { ...config.metadata, [METADATA.nonce]: nonceAfter(info, known) } };
}

/** Another nonce than that of the stream: the same for all who give the same reason. */
function nonceAfter({ config }: StreamInfo, reason: string): string {
  return hash('sha256', JSON.stringify([config.metadata?.[METADATA.nonce], reason]), 'base64url').slice(0, 12);
}

export function usageOf({ state }: StreamInfo): StreamUsage {
  const { messages: pushes, bytes, first_ts } = state;
  return { pushes, bytes, oldestAt: pushes === 0 ? undefined : Date.parse(first_ts) };
}

export function stateOf(info: StreamInfo, stream: HistoryStream): StreamState {
  const { config, created, state } = info;
  const { metadata = {} } = config;
  const floor = isBeingRaised(info)
    ? (floorAtRaise(info) ?? Number.NaN)
    : Number(metadata[METADATA.floor] ?? Number.NaN);
  return {
    epoch: hash('sha256', JSON.stringify([stream.name, created, metadata[METADATA.nonce]]), 'base64url').slice(0, 8),
    last: state.last_seq,
    floor: Number.isSafeInteger(floor) ? floor : Number.POSITIVE_INFINITY,
    messages: config.max_msgs_per_subject,
    maxAge: config.max_age / MS,
    at: Date.parse(info.ts),
  };
}
