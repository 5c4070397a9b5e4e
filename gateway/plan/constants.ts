/**
 * What the capacity plan counts with. Every measured figure says which command prints it; a test holds this file
 * against the results in docs/explanation/performance.md. No imports: this file runs in browsers and in Node.
 */

export type Measured = {
  value: number;
  unit: string;
  what: string;
  /** The command that prints it. */
  command: string;
  /** The line of the results in docs/explanation/performance.md, and the figure as it stands there. */
  row: string;
  printed: string;
};

/** Measured on 2 virtual cores of an Intel Xeon; another processor has other figures, and much the same ratios. */
export const MEASURED = {
  frameCpu: {
    value: 5.32,
    unit: 'µs',
    what: 'CPU of a gateway to send a frame of 1 KB to one connection',
    command: 'make bench CASE=merged',
    row: 'merged: CPU a frame at 10 msg/s',
    printed: '5.32 µs',
  },
  sendCpu: {
    value: 4.29,
    unit: 'µs',
    what: "the kernel's part of it: a bare send() of as many bytes",
    command: 'make bench CASE=merged',
    row: 'merged: CPU a frame at 10 msg/s',
    printed: 'send loop 4.29 µs',
  },
  largeFrameCpu: {
    value: 14.4,
    unit: 'µs',
    what: 'the same with a frame of 64 KB of text',
    command: 'make bench CASE=deflate',
    row: 'deflate: CPU a frame beside the same as text, 1 KB · 64 KB',
    printed: '14.4 µs',
  },
  smallRatio: {
    value: 1.82,
    unit: '×',
    what: 'bytes that DEFLATE saves on live comments in frames of 1 KB',
    command: 'make bench CASE=deflate',
    row: 'deflate: bytes on the wire, frames of 1 KB',
    printed: '1.82 ×',
  },
  largeRatio: {
    value: 3.25,
    unit: '×',
    what: 'the same in frames of 64 KB',
    command: 'make bench CASE=deflate',
    row: 'deflate: bytes on the wire, frames of 64 KB',
    printed: '3.25 ×',
  },
  connectionMemory: {
    value: 1.84,
    unit: 'KiB',
    what: 'memory of a connection with a user, in one room',
    command: 'make bench CASE=memory',
    row: 'the same with a user (JWT) · over TLS',
    printed: '1.84 KB',
  },
  kernelMemory: {
    value: 7.7,
    unit: 'KiB',
    what: "the kernel's memory of a connection, both ends: a gateway has one of them",
    command: 'make bench CASE=memory',
    row: "kernel's memory of it, both ends",
    printed: '7.7 KB',
  },
  handshakes: {
    value: 36_172,
    unit: 'a second',
    what: 'handshakes with JOIN and OK that a core takes, without TLS',
    command: 'make bench CASE=handshakes',
    row: 'handshakes with JOIN and OK, a second',
    printed: '36,172',
  },
  hubMemory: {
    value: 116,
    unit: 'MiB',
    what: 'memory of a gateway: its hub',
    command: 'make bench CASE=memory',
    row: 'a gateway that holds nobody: hub · shard',
    printed: '116 · 103 MB',
  },
  shardMemory: {
    value: 103,
    unit: 'MiB',
    what: 'memory of each of its shards, with no connection',
    command: 'make bench CASE=memory',
    row: 'a gateway that holds nobody: hub · shard',
    printed: '116 · 103 MB',
  },
  hubMessageCpu: {
    value: 6.33,
    unit: 'µs',
    what: "CPU of a gateway's hub for a message from NATS",
    command: 'make bench CASE=bus',
    row: 'bus: CPU of the hub for a message · for a frame to a shard',
    printed: '6.33 · 16.5 µs',
  },
  hubFrameCpu: {
    value: 16.5,
    unit: 'µs',
    what: 'CPU of the hub for a frame, for each shard that gets it',
    command: 'make bench CASE=bus',
    row: 'bus: CPU of the hub for a message · for a frame to a shard',
    printed: '6.33 · 16.5 µs',
  },
  shardFrameCpu: {
    value: 15.2,
    unit: 'µs',
    what: 'CPU of a shard for a frame to one listener: to the others it is a frame of 1 KB as above',
    command: 'make bench CASE=bus',
    row: 'bus: CPU of a shard for a frame to its one listener',
    printed: '15.2 µs',
  },
  deflateCpu: {
    value: 50.3,
    unit: 'µs',
    what: 'CPU of the hub to compress 1,000 bytes of a frame, once for all who get it',
    command: 'make bench CASE=bus',
    row: 'bus: CPU to compress 1,000 bytes of a frame',
    printed: '50.3 µs',
  },
  natsInCpu: {
    value: 3.27,
    unit: 'µs',
    what: 'CPU of nats-server for a message in',
    command: 'make bench CASE=bus',
    row: 'bus: CPU of nats-server for a message in · out',
    printed: '3.27 · 0.560 µs',
  },
  natsOutCpu: {
    value: 0.56,
    unit: 'µs',
    what: 'CPU of nats-server for a message out to a gateway',
    command: 'make bench CASE=bus',
    row: 'bus: CPU of nats-server for a message in · out',
    printed: '3.27 · 0.560 µs',
  },
  pushes: {
    value: 37_784,
    unit: 'a second',
    what: 'pushes of one item that a core of logic takes',
    command: 'make bench CASE=logic',
    row: 'logic: `POST /v1/push` a second',
    printed: '37,784',
  },
} as const satisfies Record<string, Measured>;

/** What is set as shipped, and a test holds against the settings. */
export const SHIPPED = { maxItems: 1_000, maxBytes: 262_144, deflateMinBytes: 256 } as const;

/** What nobody measured here: by a standard, by the encoding itself, or a guess that is said to be one. */
export const ASSUMED = {
  /** A v1 frame of JSON without its items and runs, with a room's name of 8 bytes (a test encodes one). */
  envelopeBytes: 61,
  /** One run of `ids`, with a counter of five digits (the same test). */
  runBytes: 20,
  /** A bus message around its item, and NATS' own line (the same test). */
  busMessageBytes: 102,
  /** Bytes of a frame in a packet: Ethernet's 1,500 less IPv4 and TCP with timestamps. */
  segmentBytes: 1_448,
  /** Bytes on the line around them: Ethernet with preamble and gap 38, IPv4 20, TCP with timestamps 32. */
  packetBytes: 90,
  /** Seconds to a client and back: as long its bytes wait in the kernel for an answer. A guess. */
  roundTrip: 0.1,
  /** Seconds until a new pod is ready. A guess: measure yours. */
  startup: 5,
  /** Share of its core that a logic pod is to use. A choice. */
  logicFill: 0.6,
} as const;
