import assert from 'node:assert/strict';
import { Settings } from '@pushcluster/protocol/settings.ts';
import type { BusEvent } from '@pushcluster/runtime/bus/bus.ts';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import type { HistoryStore } from '@pushcluster/runtime/history/historyStore.ts';
import { roomKey } from '../../ipc/channelKey.ts';
import { HubChannel } from '../hubChannel.ts';
import type { IgnoredMessages } from '../ignoredMessages.ts';
import type { Merger } from '../merger.ts';
import type { MessagePart } from '../messagePart.ts';
import { type Delivery, FakeHistoryStore } from './fakeHistoryStore.ts';
import { HistoryInlet } from './historyInlet.ts';
import { HistoryMonitor } from './historyMonitor.ts';
import { RingBudget } from './roomRing.ts';

const MATCH = '*';
const ROOM = 'r';

/** A room that a test delivers messages to. */
export class InletFixture {
  /** How many parts had been taken whenever what was pending was sent. */
  readonly flushedAfter: number[] = [];
  readonly clock = new FakeClock();
  readonly store = new FakeHistoryStore();
  readonly taken: MessagePart[] = [];
  lost = 0;
  readonly counts: Record<string, number> = {};
  readonly channel: HubChannel;
  readonly inlet: HistoryInlet;
  readonly monitor: HistoryMonitor;
  #listener: (event: BusEvent) => void = () => {};

  /** @param messages that the policy keeps of the room */
  constructor(messages = 100, budget = new RingBudget()) {
    const settings = Settings.parse({ rooms: [{ match: MATCH, history: { messages } }] });
    const counter = (name: string) => ({
      inc: (value: unknown = 1) => {
        this.counts[name] = (this.counts[name] ?? 0) + (typeof value === 'number' ? value : 1);
      },
    });
    const metrics = {
      historyReads: counter('reads'),
      historyStaleAnswers: counter('stale'),
      historyRepairs: counter('repairs'),
      recoveredMessages: counter('recovered'),
      historyResets: counter('resets'),
    } as never;
    const onEvent = (listener: (event: BusEvent) => void) => {
      this.#listener = listener;
      return () => {};
    };
    const store = this.store as unknown as HistoryStore;
    const monitor = new HistoryMonitor({
      store,
      match: MATCH,
      earlier: () => [],
      bus: { onEvent },
      clock: this.clock,
      metrics,
      failed: () => {},
    });
    this.monitor = monitor;
    const merger = {
      merge: (_: HubChannel, part: MessagePart) => this.taken.push(part),
      reset: () => {
        this.lost++;
      },
      flush: () => this.flushedAfter.push(this.taken.length),
      lose: () => {
        this.lost++;
      },
    } as unknown as Merger;
    const ignored = { decode: (bytes: Uint8Array, decode: (b: Uint8Array) => unknown) => decode(bytes) };
    this.channel = new HubChannel(roomKey(ROOM), settings);
    this.inlet = new HistoryInlet(this.channel, ROOM, {
      ...{ monitor, merger, metrics, clock: this.clock, budget },
      ignored: ignored as unknown as IgnoredMessages,
      failed: () => {},
      log: { warn: () => {}, error: () => {} } as never,
    });
    this.channel.history = this.inlet;
  }

  /** Items in the order in which they were taken. */
  get items(): number[] {
    return this.taken.map(({ items }) => Number(Buffer.from(items.bytes).toString()));
  }

  deliver({ seq, previous, bytes }: Delivery, stream = 'stream'): void {
    const values: Record<string, string> = {
      'Nats-Stream': stream,
      'Nats-Sequence': String(seq),
      'Nats-Last-Sequence': String(previous),
    };
    const headers = { get: (name: string) => values[name] ?? '', has: () => true, code: 0, description: '' };
    this.inlet.accept(bytes, { headers });
  }

  away(): void {
    this.#listener({ type: 'disconnected', reason: 'cut' });
  }

  connected(): void {
    this.#listener({ type: 'connected', reconnects: 1 });
  }

  /** Lets what was asked be answered, and time pass. */
  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 50) {
      for (let turn = 0; turn < 4; turn++) await new Promise(setImmediate);
      this.clock.advance(50);
    }
    for (let turn = 0; turn < 4; turn++) await new Promise(setImmediate);
  }

  /** Subscribed, and told where the room begins. */
  static async begun(): Promise<InletFixture> {
    const fixture = new InletFixture();
    fixture.inlet.subscribed();
    await fixture.pass(50);
    return fixture;
  }
}

/** Each taken part follows the one before. */
export function assertChained({ taken }: InletFixture) {
  for (const [i, { position }] of taken.entries())
    if (i > 0) assert.equal(position?.previous, taken[i - 1]!.position?.seq, `part ${i}`);
}
