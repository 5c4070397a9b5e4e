import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { matches, parseSelector } from './selector.ts';

const labels = { app: 'live', 'pushcluster.dev/serving': 'true', empty: '' };
const holds = (text: string) => matches(parseSelector(text), labels);

describe('a label selector', () => {
  it('asks nothing where it is empty', () => {
    assert.ok(holds(''));
    assert.ok(holds(' '));
  });

  it('asks for values, alone or in sets', () => {
    for (const text of [
      'app=live',
      'app==live',
      'app = live',
      'app!=dead',
      'app in (dead,live)',
      'app in (dead, live),pushcluster.dev/serving=true',
      'app notin (dead)',
      'empty=',
      'other!=x',
      'other notin (x)',
    ])
      assert.ok(holds(text), text);
    for (const text of [
      'app=dead',
      'app!=live',
      'app in (dead)',
      'app notin (live)',
      'other=x',
      'other in (x)',
      'app=',
    ])
      assert.ok(!holds(text), text);
  });

  it('asks for labels to be there, or not', () => {
    assert.ok(holds('app,!other'));
    assert.ok(!holds('other'));
    assert.ok(!holds('!app'));
    assert.ok(!holds('constructor'));
  });

  it('is refused where it is none', () => {
    for (const text of ['a=b,', ',', 'a in b', 'a in (b', '=b', 'a=b=c', 'a>1', '-a', 'a=-', 'a b', '!'])
      assert.throws(() => parseSelector(text), /is not a valid label selector/, text);
  });
});
