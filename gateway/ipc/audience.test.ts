import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { audienceToTell } from './audience.ts';

describe('the number of members that the hub knows', () => {
  it('is at most twice and at least half of what it is, or few', () => {
    const steps = fc.array(fc.integer({ min: -50, max: 60 }), { maxLength: 200 });
    fc.assert(
      fc.property(steps, (steps) => {
        let members = 0;
        let told = 0;
        for (const step of steps)
          for (let i = 0; i < Math.abs(step); i++) {
            members = Math.max(0, members + Math.sign(step));
            told = audienceToTell(members, told) ?? told;
            if (told === 0) assert.ok(members < 8, `${members} members are few`);
            else assert.ok(members < 2 * told && members >= told / 2, `${told} of ${members}`);
          }
      }),
    );
  });

  it('is told seldom: 14 times while a hundred thousand come, never while two come and go', () => {
    let told = 0;
    let messages = 0;
    for (let members = 1; members <= 100_000; members++) {
      const tell = audienceToTell(members, told);
      if (tell === undefined) continue;
      told = tell;
      messages++;
    }
    assert.equal(messages, 14);
    for (let i = 0; i < 10; i++) {
      assert.equal(audienceToTell(told + 1, told), undefined);
      assert.equal(audienceToTell(told - 1, told), undefined);
    }
  });
});
