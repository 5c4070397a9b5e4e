import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ShardMessage } from '../ipc/messages.ts';
import { HubCredit } from './hubCredit.ts';

describe('credit for frames', () => {
  it('is reported with the next report, and at once if it is for many bytes', () => {
    const sent: ShardMessage[] = [];
    const credit = new HubCredit((message) => sent.push(message));
    credit.done(100);
    credit.done(200);
    assert.deepEqual(sent, []);
    credit.report();
    credit.report();
    credit.done(65_536);
    assert.deepEqual(sent, [
      { type: 'done', bytes: 300 },
      { type: 'done', bytes: 65_536 },
    ]);
  });
});
