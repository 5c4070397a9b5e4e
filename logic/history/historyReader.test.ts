import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { encodePush, joinItems } from '@pushcluster/protocol/push.ts';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { Subjects } from '@pushcluster/protocol/subjects.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import { LocalHistory } from '@pushcluster/runtime/history/localHistory.ts';
import { logLines } from '@pushcluster/test/harness/logLines.ts';
import { HistoryReader } from './historyReader.ts';
import { RoomHistories } from './roomHistories.ts';

const MATCH = 'live-*';
const ROOM = 'live-1';
const MIB = 1_048_576;
const settings = Settings.parse({ rooms: [{ match: MATCH, history: { messages: 1_000 } }] });
const header = { publisher: 'p', counter: 1, at: 0, begun: 0, beat: 0, mark: 1, first: 0, urgent: false, id: '' };

describe('an answer with the last pushes of a room', () => {
  let history: LocalHistory;
  let reader: HistoryReader;
  let ids = 0;

  beforeEach(() => {
    const { log } = logLines();
    const bus = { publish: () => {}, onEvent: () => () => {} } as unknown as Bus;
    history = new LocalHistory(bus, new Subjects('test'));
    reader = new HistoryReader(history, new RoomHistories({ store: history, bus, settings: () => settings, log }));
  });

  const store = async (bytes: number, count: number) => {
    const items = joinItems([Buffer.alloc(bytes, '1')]);
    for (let i = 0; i < count; i++) await history.append(MATCH, ROOM, encodePush({ ...header, items }), `${ids++}`);
  };
  /** Sequence numbers of the pushes, and the size of the answer. */
  const read = async (limit: number, before?: number) => {
    const text = await reader.read(ROOM, limit, before);
    const { pushes } = JSON.parse(text.toString().replace(/1{1000,}/g, '1')) as { pushes: { seq: number }[] };
    return { seqs: pushes.map(({ seq }) => seq), bytes: text.length };
  };

  it('has fewer pushes than were asked for if they are large', async () => {
    await store(MIB / 2, 40);
    const { seqs, bytes } = await read(1_000);
    assert.deepEqual(seqs, [34, 35, 36, 37, 38, 39, 40]);
    assert.ok(bytes <= 4 * MIB, `${bytes} bytes`);
  });

  it('has one push however large it is', async () => {
    await store(100, 3);
    await store(5 * MIB, 1);
    await store(100, 2);
    assert.deepEqual((await read(1_000)).seqs, [5, 6]);
    assert.deepEqual((await read(1_000, 5)).seqs, [4]);
    assert.deepEqual((await read(1_000, 4)).seqs, [1, 2, 3]);
  });

  it('is followed by all older ones, page by page, until one has none', async () => {
    await store(MIB / 3, 30);
    await store(50, 300);
    const found: number[] = [];
    for (let before: number | undefined; ; ) {
      const { seqs } = await read(250, before);
      if (seqs.length === 0) break;
      found.unshift(...seqs);
      before = seqs[0];
    }
    assert.deepEqual(
      found,
      Array.from({ length: 330 }, (_, i) => i + 1),
    );
  });
});
