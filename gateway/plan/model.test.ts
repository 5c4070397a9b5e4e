import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { encodePush, joinItems } from '@pushcluster/protocol/push.ts';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { DEFLATE_MIN_BYTES, Form } from '@pushcluster/protocol/wireForms.ts';
import { encodeFrames } from '../hub/encodeFrames.ts';
import { MergeWindow } from '../hub/mergeWindow.ts';
import type { MessagePart } from '../hub/messagePart.ts';
import { roomKey } from '../ipc/channelKey.ts';
import { inputsOf, queryOf } from './address.ts';
import { ASSUMED, MEASURED, SHIPPED } from './constants.ts';
import { DEFAULTS, EXAMPLES } from './examples.ts';
import {
  compressionRatio,
  frameCpu,
  type Inputs,
  type LimitName,
  plan,
  reached,
  roomFrames,
  textFrameBytes,
} from './model.ts';

const usedOf = (inputs: Inputs, name: LimitName) => plan(inputs).limits.find((limit) => limit.name === name)!.used;

function near(actual: number, expected: number, within = 1e-3) {
  assert.ok(Math.abs(actual - expected) <= within * Math.abs(expected), `${actual} is not about ${expected}`);
}

describe('the frames of a room', () => {
  it('are one for each message where there is no window, and none where nothing is said', () => {
    assert.equal(roomFrames(10, 0, 100), 10);
    assert.equal(roomFrames(0, 1, 100), 0);
  });

  it('are one a window in a busy room, and about one a message in a quiet one', () => {
    // 1 / (1 + e^-10 / 10) and 1 / (1 + e^-1 / 1); a message an hour is never merged.
    near(roomFrames(10, 1, 100), 0.999995, 1e-6);
    near(roomFrames(1, 1, 100), 0.731059, 1e-6);
    near(roomFrames(1 / 3_600, 1, 100), 1 / 3_600, 1e-3);
  });

  it('leave as soon as they are full: 1,000 items, or 256 KiB of them', () => {
    assert.equal(roomFrames(5_000, 1, 100), 5);
    // Seven items of 32 KiB and their commas.
    assert.equal(roomFrames(70, 1, 32_768), 10);
  });

  it("are as many as the gateway's own window makes of messages at random", () => {
    for (const [rate, window] of [
      [0.5, 1],
      [1, 1],
      [3, 0.5],
      [2_500, 1],
    ] as const) {
      const seconds = rate > 100 ? 60 : 20_000;
      near(played(rate, window, seconds), roomFrames(rate, window, 100), 0.03);
    }
  });
});

describe("a frame's bytes", () => {
  it('are those that the hub encodes, whoever publishes', () => {
    for (const [items, publishers] of [
      [1, 1],
      [10, 1],
      [10, 2],
      [400, 3],
    ] as const) {
      const parts = Array.from({ length: items }, (_, i) => part(`publish${i % publishers}`, 10_001 + i));
      const [frame] = encodeFrames(roomKey('live-123'), parts, Form.v1);
      const header = frame!.bytes.length < 126 ? 2 : frame!.bytes.length < 65_536 ? 4 : 10;
      // In turn they never follow each other; at random, each now and then follows itself.
      const runs = publishers === 1 ? 1 : items;
      const expected =
        frame!.bytes.length + header - (runs - 1 - (items - 1) * (1 - 1 / publishers)) * ASSUMED.runBytes;
      near(textFrameBytes(items, 100, publishers), expected, 0.02);
    }
  });

  it('are as few as was measured where they are compressed, and the same where they are short', () => {
    assert.equal(compressionRatio(255), 1);
    near(compressionRatio(1_024), MEASURED.smallRatio.value);
    near(compressionRatio(65_536), MEASURED.largeRatio.value);
    near(compressionRatio(1e6), MEASURED.largeRatio.value);
    assert.ok(compressionRatio(8_192) > MEASURED.smallRatio.value);
  });

  it('cost as much CPU as was measured', () => {
    near(frameCpu(200), MEASURED.frameCpu.value);
    near(frameCpu(1_024), MEASURED.frameCpu.value);
    near(frameCpu(65_536), MEASURED.largeFrameCpu.value);
  });

  it('on the bus are those of a message and its line', () => {
    const items = joinItems([Buffer.from('x'.repeat(100))]);
    const bytes = encodePush({
      publisher: 'publish0',
      counter: 1,
      at: 1,
      begun: 1,
      beat: 1,
      mark: 1,
      first: 1,
      urgent: false,
      id: '',
      items,
    });
    const line = 'MSG pushcluster.out.room.live-123 17 150\r\n\r\n'.length;
    near(100 + ASSUMED.busMessageBytes, bytes.length + line, 0.02);
  });
});

describe('a plan', () => {
  it('counts for a million in one room a frame a second each, a core for 187,000 of them', () => {
    const planned = plan(DEFAULTS);
    near(planned.delivered, 1e7);
    near(planned.frames, 1e6);
    // 10 items of 100 bytes with commas, envelope and WebSocket header, and 5.5 runs of ids from two logic pods.
    near(planned.frameBytes, 10 * 101 - 1 + ASSUMED.envelopeBytes + 4 + 5.5 * ASSUMED.runBytes);
    near(planned.bits, 1e6 * (planned.frameBytes + 90) * 8);
    near(planned.cores, 1e6 * frameCpu(planned.frameBytes) * 1e-6, 0.01);
    near(planned.sendCores, 4.29);
    assert.equal(planned.unmerged.frames, 1e7);
    near(planned.unmerged.cores, 53.2);
  });

  it('has as many gateways as keep each limit under what may be in use, and hold with one away', () => {
    // 10.2 Gbit/s on lines of 10: two are half full, but one alone would be over.
    const planned = plan(DEFAULTS);
    assert.equal(planned.gateways, 3);
    assert.equal(planned.limits[0]!.name, 'wire');
    near(planned.limits[0]!.used, planned.bits / 3 / 10e9);
    near(planned.oneAway.used, planned.bits / 2 / 10e9);
    assert.equal(plan({ ...DEFAULTS, line: 100 }).gateways, 2);
    // A tenth of a core's time may be in use: 5.34 cores over shards of 7.
    assert.equal(plan({ ...DEFAULTS, line: 100, packets: 1e9, fill: 10 }).gateways, Math.ceil(5.342 / 0.7));
  });

  it('is at least two gateways, so that one may go', () => {
    assert.equal(plan({ ...DEFAULTS, people: 1 }).gateways, 2);
  });

  it('has memory for processes, for half of what both ends of a connection take, and for bytes on their way', () => {
    const { memory, connections } = plan({ ...DEFAULTS, rate: 0 });
    assert.equal(connections, 500_000);
    near(memory, (MEASURED.hubMemory.value + 7 * MEASURED.shardMemory.value) * 1_048_576 + 5e5 * (1.84 + 3.85) * 1_024);
    const busy = plan({ ...DEFAULTS, line: 1_000 });
    near(busy.memory - memory, (busy.bits / 8 / 2) * ASSUMED.roundTrip);
  });

  it('says what saturates first: packet rate, cores, bandwidth, memory or a single NATS server', () => {
    const first = (changes: Partial<Inputs>) => plan({ ...DEFAULTS, ...changes }).limits[0]!.name;
    assert.equal(first({ packets: 100_000 }), 'packets');
    assert.equal(first({ cores: 2 }), 'cpu');
    assert.equal(first({ line: 1 }), 'wire');
    assert.equal(first({ memory: 2, rate: 0.01 }), 'memory');
    assert.equal(first({ people: 1e7, rooms: 1e4, rate: 1 }), 'hub');
    assert.equal(first({ people: 1e7, rooms: 1e4, rate: 10, natsServers: 1 }), 'nats');
  });

  it('says where no number of gateways is enough: one room that one hub cannot take in', () => {
    const planned = plan({ ...DEFAULTS, rate: 200_000 });
    assert.equal(planned.gateways, undefined);
    assert.ok(planned.limits.some(({ name, used }) => name === 'hub' && used > 1));
  });

  it('sends a message on the bus once to each gateway that has a member of its room', () => {
    assert.equal(reached(4, 1), 1);
    near(reached(4, 1_000_000), 4);
    near(reached(2, 2), 1.5);
    const planned = plan({ ...DEFAULTS, people: 1_000, rooms: 1_000, rate: 7 });
    assert.equal(planned.natsIn, 7_000);
    near(planned.natsOut, 7_000);
  });

  it('counts on each NATS server all messages in, its share of those out, and what it passes on to the others', () => {
    const alone = plan({ ...DEFAULTS, people: 1_000, rooms: 1_000, rate: 7, natsServers: 1 });
    near(alone.natsCores, (7_000 * MEASURED.natsInCpu.value + 7_000 * MEASURED.natsOutCpu.value) / 1e6);
    const three = plan({ ...DEFAULTS, people: 1_000, rooms: 1_000, rate: 7, natsServers: 3 });
    near(three.natsCores, (7_000 * MEASURED.natsInCpu.value + 7_000 * MEASURED.natsOutCpu.value) / 1e6);
    assert.equal(usedOf({ ...DEFAULTS, natsCores: 2 }, 'nats'), 2 * usedOf(DEFAULTS, 'nats'));
  });

  it('saves bytes on the wire by compression, for CPU of the hub', () => {
    const text = plan(DEFAULTS);
    const packed = plan({ ...DEFAULTS, compression: true });
    near(packed.frameBytes, text.frameBytes / compressionRatio(text.frameBytes));
    assert.ok(packed.bits < 0.6 * text.bits);
    assert.ok(usedOf({ ...DEFAULTS, compression: true }, 'hub') > usedOf(DEFAULTS, 'hub'));
  });

  it('refuses what is no load', () => {
    assert.throws(() => plan({ ...DEFAULTS, people: 0 }), /people must be greater than 0, not 0/);
    assert.throws(() => plan({ ...DEFAULTS, line: Number.NaN }), /line must be greater than 0, not NaN/);
    assert.throws(() => plan({ ...DEFAULTS, people: 5, rooms: 6 }), /rooms must not exceed people \(5\), but is 6/);
  });
});

describe('the constants of the plan', () => {
  it('stands in docs/explanation/performance.md as the bench printed it', () => {
    const results = readFileSync(new URL('../../docs/explanation/performance.md', import.meta.url), 'utf8');
    for (const { row, printed, value } of Object.values(MEASURED)) {
      const line = results.split('\n').find((each) => each.startsWith(`| ${row} |`));
      assert.ok(line, `docs/explanation/performance.md has no results of "${row}"`);
      assert.ok(line.includes(printed), `"${printed}" (gateway/plan/constants.ts) is not in: ${line}`);
      const numbers = printed
        .replaceAll(',', '')
        .match(/[\d.]+/g)!
        .map(Number);
      assert.ok(numbers.includes(value), `${value} is none of ${numbers}`);
    }
  });

  it('is what the settings are as shipped', () => {
    const { gateway } = Settings.parse({});
    const { maxItems, maxBytes, maxDelay } = gateway.batching;
    assert.deepEqual({ ...SHIPPED }, { maxItems, maxBytes, deflateMinBytes: DEFLATE_MIN_BYTES });
    assert.equal(DEFAULTS.window * 1_000, maxDelay);
  });
});

describe('the address of a plan', () => {
  it('has what differs from the defaults, and gives the same plan back', () => {
    assert.equal(queryOf(DEFAULTS), '');
    assert.deepEqual(inputsOf(''), DEFAULTS);
    assert.equal(queryOf({ ...DEFAULTS, people: 5, compression: true }), 'people=5&compression=true');
    for (const { inputs } of EXAMPLES) assert.deepEqual(inputsOf(queryOf(inputs)), inputs);
  });

  it('may hold anything: what is no number is as in the defaults', () => {
    assert.deepEqual(inputsOf('people=lots&rooms=&window=Infinity&compression=no&x=1'), DEFAULTS);
  });
});

function part(publisher: string, first: number): MessagePart {
  return { publisher, first, at: 0, items: joinItems([Buffer.from('x'.repeat(100))]) };
}

/** Frames a second that a real window makes of messages that arrive at random. */
function played(rate: number, seconds: number, over: number): number {
  const { maxItems, maxBytes } = SHIPPED;
  const window = new MergeWindow({ minDelay: 0, maxDelay: seconds * 1_000, adaptive: false, maxItems, maxBytes });
  let seed = 7;
  const random = () => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  let frames = 0;
  for (let now = 0, i = 1; now < over * 1_000; i++) {
    now -= (Math.log(random()) / rate) * 1_000;
    for (let due = window.due(); due !== undefined && due <= now; due = window.due()) if (window.flush(due)) frames++;
    frames += window.offer(part('publish0', i), now).length;
  }
  return frames / over;
}
