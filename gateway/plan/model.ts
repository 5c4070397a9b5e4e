import { ASSUMED, MEASURED, SHIPPED } from './constants.ts';

/**
 * The capacity plan: from who listens and what is pushed to frames, bytes, cores, memory, gateways, and what gives out
 * first. Pure, and without imports but its constants: the console's /plan and Node run this same file.
 */

export type Inputs = {
  /** People online. */
  people: number;
  /** Rooms; everyone is in one, and all are as large. */
  rooms: number;
  /** Messages a second into each room, arriving at random. */
  rate: number;
  /** Bytes of an item. */
  itemBytes: number;
  /** The merge window (batching.maxDelay), seconds. */
  window: number;
  /** Whether all clients take `pushcluster.v1.deflate`. */
  compression: boolean;
  /** Cores of a gateway: one is the hub's, the others have a shard each. */
  cores: number;
  /** Line rate of a gateway's node, Gbit a second. */
  line: number;
  /** Memory of a gateway's node, GiB. */
  memory: number;
  /** Packets a second that the node's network sends: by the provider, or by a test of the card. */
  packets: number;
  /** Servers of the NATS cluster, and cores of each. */
  natsServers: number;
  natsCores: number;
  /** Percent of each limit that may be in use in quiet times. */
  fill: number;
};

export type LimitName = 'packets' | 'cpu' | 'hub' | 'memory' | 'wire' | 'nats';

/** What may give out: `used` is a share of what there is, 0 to 1 and beyond. */
export type Limit = { name: LimitName; used: number };

export type Plan = {
  /** Items that arrive at people, a second. */
  delivered: number;
  /** Frames a second of one room. */
  roomFrames: number;
  itemsPerFrame: number;
  /** Bytes of a frame as it is handed to the kernel, compressed where that is on. */
  frameBytes: number;
  packetsPerFrame: number;
  /** All gateways together: frames, packets, bits a second on the wire, and cores. */
  frames: number;
  packets: number;
  bits: number;
  cores: number;
  /** Cores of these that the kernel's send() takes, whoever calls it. */
  sendCores: number;
  /** Cores, and frames a second, if each message went out by itself. */
  unmerged: { frames: number; cores: number };
  /** Undefined where no number of gateways is enough. */
  gateways: number | undefined;
  /** Of one gateway: people, bytes of memory. */
  connections: number;
  memory: number;
  /** Messages into NATS and out of it, a second, and cores of the busiest server. */
  natsIn: number;
  natsOut: number;
  natsCores: number;
  logicCores: number;
  logicPods: number;
  /** With as many gateways, the fullest first. */
  limits: Limit[];
  /** The same with one gateway away, the fullest. */
  oneAway: Limit;
};

/** More gateways than these are another architecture. */
const MOST_GATEWAYS = 10_000;
const KIB = 1_024;
const GIB = 1_024 ** 3;

/** The plan of `inputs`. Throws RangeError where one of them is no positive number (rate and window: or 0). */
export function plan(inputs: Inputs): Plan {
  check(inputs);
  const room = roomOf(inputs);
  const at = (gateways: number) => fleet(inputs, room, gateways);
  // NATS is not among them: more gateways are no help to it.
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
 * Frames a second of a room, as the gateway's window makes them: the first message of a quiet room leaves at once, what
 * follows waits for the window's end, and full frames don't wait. For messages that arrive at random (Poisson).
 */
export function roomFrames(rate: number, window: number, itemBytes: number): number {
  if (rate === 0) return 0;
  const interval = window + Math.exp(-rate * window) / rate;
  const most = Math.max(1, Math.min(SHIPPED.maxItems, Math.floor(SHIPPED.maxBytes / (itemBytes + 1))));
  return Math.min(rate, Math.max(1 / interval, rate / most));
}

/** Bytes of a v1 frame of text with its WebSocket header. @param publishers logic pods, whose items come in runs */
export function textFrameBytes(items: number, itemBytes: number, publishers: number): number {
  const runs = 1 + Math.max(0, items - 1) * (1 - 1 / publishers);
  const payload = ASSUMED.envelopeBytes + runs * ASSUMED.runBytes + items * (itemBytes + 1) - 1;
  return payload + headerBytes(payload);
}

/** How many times smaller DEFLATE makes a frame of live comments: between and beyond the two sizes that were measured. */
export function compressionRatio(bytes: number): number {
  if (bytes < SHIPPED.deflateMinBytes) return 1;
  const slope = (MEASURED.largeRatio.value - MEASURED.smallRatio.value) / Math.log(64);
  const ratio = MEASURED.smallRatio.value + slope * Math.log(bytes / KIB);
  return Math.max(1, Math.min(MEASURED.largeRatio.value, ratio));
}

/** Microseconds of a gateway's CPU to send a frame of so many bytes to one connection: a line through two measurements. */
export function frameCpu(bytes: number): number {
  const perByte = (MEASURED.largeFrameCpu.value - MEASURED.frameCpu.value) / (63 * KIB);
  return MEASURED.frameCpu.value + perByte * Math.max(0, bytes - KIB);
}

/** Of `parts`, how many have at least one of `members` that are spread over them by chance. */
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

/** What `gateways` have to do. */
function fleet(inputs: Inputs, room: Room, gateways: number) {
  const { people, rooms, rate, cores, natsServers } = inputs;
  const shards = Math.max(1, cores - 1);
  const connections = people / gateways;
  const inRoom = people / rooms;
  // Of a room: gateways and shards that have a member.
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
  // Every server of a NATS cluster hears each message, and passes it on to its own share of the gateways.
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

/** The smallest count from 2 (one may always go) up to the most for which `enough` holds; more are never worse. */
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

/** RFC 6455, 5.2: a server's frame. */
function headerBytes(payload: number): number {
  if (payload < 126) return 2;
  return payload < 65_536 ? 4 : 10;
}

function check(inputs: Inputs) {
  for (const [name, value] of Object.entries(inputs)) {
    if (typeof value === 'boolean') continue;
    const least = name === 'rate' || name === 'window' ? 0 : Number.MIN_VALUE;
    if (!Number.isFinite(value) || value < least) throw new RangeError(`${name} is ${value}: it should be above 0`);
  }
  if (inputs.rooms > inputs.people)
    throw new RangeError(`rooms is ${inputs.rooms}: there should be no more than people (${inputs.people})`);
}
