import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { StreamUsage } from '@pushcluster/runtime/history/historyStore.ts';
import { Registry } from 'prom-client';
import { exportStreams } from './streamMetrics.ts';

describe('the metrics of histories', () => {
  const samples = async (registry: Registry) =>
    (await registry.metrics()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));

  it('are of one answer for each policy, and leave out what is not known', async () => {
    const registry = new Registry();
    const questions: string[] = [];
    const known = new Map<string, StreamUsage>([
      ['chat-*', { pushes: 3, bytes: 450, oldestAt: 1_700_000_000_500 }],
      ['empty-*', { pushes: 0, bytes: 0, oldestAt: undefined }],
    ]);
    let matches = ['chat-*', 'empty-*', 'away-*'];
    const usage = async (match: string) => {
      questions.push(match);
      const found = known.get(match);
      if (!found) throw new Error('no answer');
      return found;
    };
    exportStreams(registry, { usage }, () => matches);
    assert.deepEqual(await samples(registry), [
      'pushcluster_logic_history_messages{match="chat-*"} 3',
      'pushcluster_logic_history_messages{match="empty-*"} 0',
      'pushcluster_logic_history_bytes{match="chat-*"} 450',
      'pushcluster_logic_history_bytes{match="empty-*"} 0',
      'pushcluster_logic_history_oldest_timestamp_seconds{match="chat-*"} 1700000000.5',
    ]);
    assert.deepEqual(questions, matches);
    matches = ['empty-*'];
    assert.deepEqual(await samples(registry), [
      'pushcluster_logic_history_messages{match="empty-*"} 0',
      'pushcluster_logic_history_bytes{match="empty-*"} 0',
    ]);
  });
});
