import { ASSUMED, MEASURED, SHIPPED } from './constants.ts';

/**
 * The capacity plan: computes frames, bytes, cores, memory, the number of gateways and the utilization of each limit from the
 * number of people and the message rate. Pure, and imports only its constants: the console's /plan and Node run this file.
 */

export type Inputs = {
  /** People online. */
  people: number;
  /** Number of rooms. Everyone is in one room, and all rooms have the same size. */
  rooms: number;
  /** Messages per second to each room, at random intervals. */
  rate: number;
  /** Size of an item, bytes. */
  itemBytes: number;
  /** The merge window (batching.maxDelay), seconds. */
  window: number;
  /** Whether all clients use `pushcluster.v1.deflate`. */
  compression: boolean;
  /** Cores of a gateway: one for the hub, and one for each shard. */
  cores: number;
  /** Bandwidth of a gateway's node, Gbit/s. */
  line: number;
  /** Memory of a gateway's node, GiB. */
  memory: number;
  /** Packets per second that the node can send: as the provider says, or as measured. */
  packets: number;
  /** Servers of the NATS cluster, and cores per server. */
  natsServers: number;
  natsCores: number;
  /** Target utilization of each limit in normal operation, percent. */
  fill: number;
};

export type LimitName = 'packets' | 'cpu' | 'hub' | 'memory' | 'wire' | 'nats';

/** A limit and its utilization: 1 is saturated, more is overloaded. */
export type Limit = { name: LimitName; used: number };

export type Plan = {
  /** Items delivered to people, per second. */
  delivered: number;
  /** Frames per second of one room. */
  roomFrames: number;
  itemsPerFrame: number;
  /** Bytes of a frame as passed to the kernel: compressed, if compression is on. */
  frameBytes: number;
  packetsPerFrame: number;
  /** All gateways together: frames, packets and bits per second on the wire, and cores in use. */
  frames: number;
  packets: number;
  bits: number;
  cores: number;
  /** Part of these cores that the kernel's send() uses. */
  sendCores: number;
  /** Cores and frames per second if each message were sent in a frame of its own. */
  unmerged: { frames: number; cores: number };
  /** Undefined if no number of gateways is enough. */
  gateways: number | undefined;
  /** Per gateway: people, and memory in bytes. */
  connections: number;
  memory: number;
  /** Messages into and out of NATS, per second, and cores in use on each server. */
  natsIn: number;
  natsOut: number;
  natsCores: number;
  logicCores: number;
  logicPods: number;
  /** With that many gateways; the highest utilization first. */
  limits: Limit[];
  /** The highest utilization with one gateway down. */
  oneAway: Limit;
};

/** The largest number of gateways that is tried: more need another architecture. */
const MOST_GATEWAYS = 10_000;
const KIB = 1_024;
const GIB = 1_024 ** 3;

/** The plan for `inputs`. Throws RangeError if an input is not a positive number (rate and window may be 0). */
export function plan(inputs: Inputs): Plan {
  check(inputs);
  const room = roomOf(inputs);
  const at = (gateways: number) => fleet(inputs, room, gateways);
  // NATS does not count here: more gateways do not relieve it.
  const within = (gateways: number, share: number) =>
    at(gateways).limits.every(({ name, used }) => name === 'nats' || used <= share);
  const gateways = fewest((count) => within(count, inputs.fill / 100) && within(count - 1, 1));
  const count = gateways ?? MOST_GATEWAYS;
  const { limits, ...figures } = at(count);
  return {
    ...figures,
    delivered: inputs.people * inputs.rate,
    roomFrames: room.frames,
    itemsPerFrame: room.items,
    frameBytes: room.bytes,
    packetsPerFrame: room.packets,
    frames: inputs.people * room.frames,
    packets: inputs.people * room.frames * room.packets,
    bits: inputs.people * room.frames * room.wireBytes * 8,
    sendCores: (inputs.people * room.frames * MEASURED.sendCpu.value) / 1e6,
    unmerged: unmerged(inputs, count),
    gateways,
    logicCores: room.logicCores,
    logicPods: room.logicPods,
    limits: sorted(limits),
    oneAway: sorted(at(count - 1).limits)[0]!,
  };
}

/**
 * Frames per second of a room with the gateway's merge window. The first message of a quiet room is sent at once, the
 * following ones wait until the window ends, and a full frame does not wait. For random arrivals (Poisson).
 */
export function roomFrames(rate: number, window: number, itemBytes: number): number {
  if (rate === 0) return 0;
  const interval = window + Math.exp(-rate * window) / rate;
  const most = Math.max(1, Math.min(SHIPPED.maxItems, Math.floor(SHIPPED.maxBytes / (itemBytes + 1))));
  return Math.min(rate, Math.max(1 / interval, rate / most));
}

/** Bytes of a v1 text frame with its WebSocket header. @param publishers number of logic pods: each adds runs of `ids` */
export function textFrameBytes(items: number, itemBytes: number, publishers: number): number {
  const runs = 1 + Math.max(0, items - 1) * (1 - 1 / publishers);
  const payload = ASSUMED.envelopeBytes + runs * ASSUMED.runBytes + items * (itemBytes + 1) - 1;
  return payload + headerBytes(payload);
}

/** Compression ratio of DEFLATE for a frame of live comments, interpolated from two measured sizes. */
export function compressionRatio(bytes: number): number {
  if (bytes < SHIPPED.deflateMinBytes) return 1;
  const slope = (MEASURED.largeRatio.value - MEASURED.smallRatio.value) / Math.log(64);
  const ratio = MEASURED.smallRatio.value + slope * Math.log(bytes / KIB);
  return Math.max(1, Math.min(MEASURED.largeRatio.value, ratio));
}

/** CPU time of a gateway to send a frame of this size to one connection, µs, interpolated from two measured sizes. */
export function frameCpu(bytes: number): number {
  const perByte = (MEASURED.largeFrameCpu.value - MEASURED.frameCpu.value) / (63 * KIB);
  return MEASURED.frameCpu.value + perByte * Math.max(0, bytes - KIB);
}

/** Expected number of `parts` that have at least one of `members`, if these are spread at random. */
export function reached(parts: number, members: number): number {
  return parts * (1 - (1 - 1 / parts) ** members);
}

type Room = ReturnType<typeof roomOf>;

function roomOf({ rooms, rate, itemBytes, window, compression }: Inputs) {
  const frames = roomFrames(rate, window, itemBytes);
  const items = frames === 0 ? 0 : rate / frames;
  const logicCores = (rooms * rate) / MEASURED.pushes.value;
  const logicPods = Math.max(2, Math.ceil(logicCores / ASSUMED.logicFill));
  const text = textFrameBytes(items, itemBytes, logicPods);
  const bytes = compression ? text / compressionRatio(text) : text;
  const packets = Math.max(1, Math.ceil(bytes / ASSUMED.segmentBytes));
  const wireBytes = bytes + packets * ASSUMED.packetBytes;
  const busBytes = itemBytes + ASSUMED.busMessageBytes;
  return { frames, items, text, bytes, packets, wireBytes, busBytes, logicCores, logicPods };
}

/** The load of `gateways` gateways. */
function fleet(inputs: Inputs, room: Room, gateways: number) {
  const { people, rooms, rate, cores, natsServers } = inputs;
  const shards = Math.max(1, cores - 1);
  const connections = people / gateways;
  const inRoom = people / rooms;
  // Gateways and shards that have a member of a given room.
  const gatewaysReached = reached(gateways, inRoom);
  const shardsReached = reached(gateways * shards, inRoom);

  const messages = rooms * rate;
  const frames = rooms * room.frames;
  const sends = connections * room.frames;
  const shardFrame = MEASURED.shardFrameCpu.value - MEASURED.frameCpu.value;
  const shardCpu = (sends * frameCpu(room.bytes) + ((frames * shardsReached) / gateways) * shardFrame) / 1e6;
  const deflate = inputs.compression && room.text >= SHIPPED.deflateMinBytes ? MEASURED.deflateCpu.value / 1e3 : 0;
  const hubCpu =
    (((messages * gatewaysReached) / gateways) * MEASURED.hubMessageCpu.value +
      ((frames * shardsReached) / gateways) * MEASURED.hubFrameCpu.value +
      ((frames * gatewaysReached) / gateways) * room.text * deflate) /
    1e6;

  const bits = sends * room.wireBytes * 8;
  const memory =
    MEASURED.hubMemory.value * KIB ** 2 +
    shards * MEASURED.shardMemory.value * KIB ** 2 +
    connections * (MEASURED.connectionMemory.value + MEASURED.kernelMemory.value / 2) * KIB +
    (bits / 8) * ASSUMED.roundTrip;

  const natsOut = messages * gatewaysReached;
  // Every server of a NATS cluster receives each message, and sends it to the gateways that are connected to it.
  const passedOn = (natsOut + messages * (natsServers - 1)) / natsServers;
  const natsCores = (messages * MEASURED.natsInCpu.value + passedOn * MEASURED.natsOutCpu.value) / 1e6;
  const natsBits = passedOn * room.busBytes * 8;

  const limits: Limit[] = [
    { name: 'packets', used: (sends * room.packets) / inputs.packets },
    { name: 'cpu', used: shardCpu / shards },
    { name: 'hub', used: hubCpu },
    { name: 'memory', used: memory / (inputs.memory * GIB) },
    { name: 'wire', used: bits / (inputs.line * 1e9) },
    { name: 'nats', used: Math.max(natsCores / inputs.natsCores, natsBits / (inputs.line * 1e9)) },
  ];
  return {
    limits,
    cores: gateways * (shardCpu + hubCpu),
    connections,
    memory,
    natsIn: messages,
    natsOut,
    natsCores,
  };
}

function unmerged(inputs: Inputs, gateways: number) {
  const each = { ...inputs, window: 0 };
  return { frames: inputs.people * inputs.rate, cores: fleet(each, roomOf(each), gateways).cores };
}

/** The smallest count, from 2 (one gateway may be down), for which `enough` holds. More gateways are never worse. */
function fewest(enough: (count: number) => boolean): number | undefined {
  if (!enough(MOST_GATEWAYS)) return undefined;
  let low = 1;
  let high = MOST_GATEWAYS;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (enough(middle)) high = middle;
    else low = middle;
  }
  return high;
}

function sorted(limits: readonly Limit[]): Limit[] {
  return limits.toSorted((a, b) => b.used - a.used);
}

/** Header of a server's frame (RFC 6455, 5.2), bytes. */
function headerBytes(payload: number): number {
  if (payload < 126) return 2;
  return payload < 65_536 ? 4 : 10;
}

function check(inputs: Inputs) {
  for (const [name, value] of Object.entries(inputs)) {
    if (typeof value === 'boolean') continue;
    const least = name === 'rate' || name === 'window' ? 0 : Number.MIN_VALUE;
    if (!Number.isFinite(value) || value < least)
      throw new RangeError(`${name} must be ${least === 0 ? 'at least' : 'greater than'} 0, not ${value}`);
  }
  if (inputs.rooms > inputs.people)
    throw new RangeError(`rooms must not exceed people (${inputs.people}), but is ${inputs.rooms}`);
}
