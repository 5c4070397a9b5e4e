/**
 * The constants of the capacity plan. Every measured figure names the command that prints it, and a test compares this
 * file with the results in docs/explanation/performance.md. No imports: this file runs in browsers and in Node.
 */

export type Measured = {
  value: number;
  unit: string;
  what: string;
  /** The command that prints it. */
  command: string;
  /** Row of the results in docs/explanation/performance.md, and the figure as printed there. */
  row: string;
  printed: string;
};

/** Measured on 2 virtual cores of an Intel Xeon. Other processors have other figures, and similar ratios. */
export const MEASURED = {
  frameCpu: {
    value: 5.32,
    unit: 'µs',
    what: 'CPU of a gateway to send a 1 KB frame to one connection',
    command: 'make bench CASE=merged',
    row: 'merged: CPU a frame at 10 msg/s',
    printed: '5.32 µs',
  },
  sendCpu: {
    value: 4.29,
    unit: 'µs',
    what: 'part of this in the kernel: send() of the same size',
    command: 'make bench CASE=merged',
    row: 'merged: CPU a frame at 10 msg/s',
    printed: 'send loop 4.29 µs',
  },
  largeFrameCpu: {
    value: 14.4,
    unit: 'µs',
    what: 'CPU of a gateway to send a 64 KB text frame to one connection',
    command: 'make bench CASE=deflate',
    row: 'deflate: CPU a frame beside the same as text, 1 KB · 64 KB',
    printed: '14.4 µs',
  },
  smallRatio: {
    value: 1.82,
    unit: '×',
    what: 'compression ratio of live comments in 1 KB frames',
    command: 'make bench CASE=deflate',
    row: 'deflate: bytes on the wire, frames of 1 KB',
    printed: '1.82 ×',
  },
  largeRatio: {
    value: 3.25,
    unit: '×',
    what: 'compression ratio of live comments in 64 KB frames',
    command: 'make bench CASE=deflate',
    row: 'deflate: bytes on the wire, frames of 64 KB',
    printed: '3.25 ×',
  },
  connectionMemory: {
    value: 1.84,
    unit: 'KiB',
    what: 'memory per connection with a user, in one room',
    command: 'make bench CASE=memory',
    row: 'the same with a user (JWT) · over TLS',
    printed: '1.84 KB',
  },
  kernelMemory: {
    value: 7.7,
    unit: 'KiB',
    what: 'kernel memory per connection, both ends (a gateway has one end)',
    command: 'make bench CASE=memory',
    row: "kernel's memory of it, both ends",
    printed: '7.7 KB',
  },
  handshakes: {
    value: 36_172,
    unit: 'per second',
    what: 'handshakes with JOIN and OK per core, without TLS',
    command: 'make bench CASE=handshakes',
    row: 'handshakes with JOIN and OK, a second',
    printed: '36,172',
  },
  hubMemory: {
    value: 116,
    unit: 'MiB',
    what: 'memory of the hub of a gateway',
    command: 'make bench CASE=memory',
    row: 'a gateway that holds nobody: hub · shard',
    printed: '116 · 103 MB',
  },
  shardMemory: {
    value: 103,
    unit: 'MiB',
    what: 'memory of a shard without connections',
    command: 'make bench CASE=memory',
    row: 'a gateway that holds nobody: hub · shard',
    printed: '116 · 103 MB',
  },
  hubMessageCpu: {
    value: 6.33,
    unit: 'µs',
    what: 'CPU of the hub per message from NATS',
    command: 'make bench CASE=bus',
    row: 'bus: CPU of the hub for a message · for a frame to a shard',
    printed: '6.33 · 16.5 µs',
  },
  hubFrameCpu: {
    value: 16.5,
    unit: 'µs',
    what: 'CPU of the hub per frame and shard',
    command: 'make bench CASE=bus',
    row: 'bus: CPU of the hub for a message · for a frame to a shard',
    printed: '6.33 · 16.5 µs',
  },
  shardFrameCpu: {
    value: 15.2,
    unit: 'µs',
    what: 'CPU of a shard per frame for the first connection (each further one: a 1 KB frame, as above)',
    command: 'make bench CASE=bus',
    row: 'bus: CPU of a shard for a frame to its one listener',
    printed: '15.2 µs',
  },
  deflateCpu: {
    value: 50.3,
    unit: 'µs',
    what: 'CPU of the hub to compress 1,000 bytes, once per frame',
    command: 'make bench CASE=bus',
    row: 'bus: CPU to compress 1,000 bytes of a frame',
    printed: '50.3 µs',
  },
  natsInCpu: {
    value: 3.27,
    unit: 'µs',
    what: 'CPU of nats-server per message in',
    command: 'make bench CASE=bus',
    row: 'bus: CPU of nats-server for a message in · out',
    printed: '3.27 · 0.560 µs',
  },
  natsOutCpu: {
    value: 0.56,
    unit: 'µs',
    what: 'CPU of nats-server per message out to a gateway',
    command: 'make bench CASE=bus',
    row: 'bus: CPU of nats-server for a message in · out',
    printed: '3.27 · 0.560 µs',
  },
  pushes: {
    value: 37_784,
    unit: 'per second',
    what: 'pushes of one item per core of logic',
    command: 'make bench CASE=logic',
    row: 'logic: `POST /v1/push` a second',
    printed: '37,784',
  },
} as const satisfies Record<string, Measured>;

/** Default settings. A test compares them with the settings' schema. */
export const SHIPPED = { maxItems: 1_000, maxBytes: 262_144, deflateMinBytes: 256 } as const;

/** Constants that are not measured: from a standard, from the encoding, or a guess, which is marked as one. */
export const ASSUMED = {
  /** Bytes of a v1 frame without items and runs, for a room name of 8 bytes. A test encodes one. */
  envelopeBytes: 61,
  /** Bytes of one run of `ids` with a five-digit counter. The same test. */
  runBytes: 20,
  /** Bytes of a bus message without its item, with NATS' protocol line. The same test. */
  busMessageBytes: 102,
  /** Payload of a packet, bytes: Ethernet's 1,500 minus IPv4 and TCP with timestamps. */
  segmentBytes: 1_448,
  /** Overhead of a packet on the wire, bytes: Ethernet with preamble and gap 38, IPv4 20, TCP with timestamps 32. */
  packetBytes: 90,
  /** Round trip to a client, seconds: sent bytes stay in the kernel for that long. A guess. */
  roundTrip: 0.1,
  /** Time until a new pod is ready, seconds. A guess: measure yours. */
  startup: 5,
  /** Target utilization of a logic pod's core. A choice. */
  logicFill: 0.6,
} as const;
