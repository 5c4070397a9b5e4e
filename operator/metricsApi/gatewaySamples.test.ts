import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BYTES_METRIC, CONNECTIONS_METRIC } from './api.ts';
import { GatewaySamples } from './gatewaySamples.ts';

const began = Date.UTC(2026, 10, 23);
const at = (seconds: number) => began + seconds * 1_000;

describe('samples of gateways', () => {
  it('give connections as they were counted last', () => {
    const samples = new GatewaySamples();
    samples.put('a', { at: at(0), connections: 10 });
    samples.put('a', { at: at(10), connections: 20 });
    assert.deepEqual(samples.value('a', CONNECTIONS_METRIC, at(12)), { value: 20, at: at(10) });
  });

  it('have no value where none was taken, none was told, or the last one is older than 20 s', () => {
    const samples = new GatewaySamples();
    samples.put('a', { at: at(0), connections: 10 });
    samples.put('b', { at: at(0) });
    assert.equal(samples.value('a', CONNECTIONS_METRIC, at(20))?.value, 10);
    assert.equal(samples.value('a', CONNECTIONS_METRIC, at(20) + 1), undefined);
    assert.equal(samples.value('b', CONNECTIONS_METRIC, at(0)), undefined);
    assert.equal(samples.value('c', CONNECTIONS_METRIC, at(0)), undefined);
  });

  it('give a rate from the second one on, over the time between', () => {
    const samples = new GatewaySamples();
    samples.put('a', { at: at(0), bytesSentTotal: 1_000 });
    assert.equal(samples.value('a', BYTES_METRIC, at(0)), undefined);
    samples.put('a', { at: at(10), bytesSentTotal: 6_000 });
    assert.deepEqual(samples.value('a', BYTES_METRIC, at(10)), { value: 500, at: at(10), windowSeconds: 10 });
  });

  it('take a rate over 5 s at least, however often they come', () => {
    const samples = new GatewaySamples();
    for (let second = 0; second <= 12; second += 2) samples.put('a', { at: at(second), bytesSentTotal: second * 100 });
    const rate = samples.value('a', BYTES_METRIC, at(12));
    assert.equal(rate?.value, 100);
    assert.ok(rate.windowSeconds! >= 5 && rate.windowSeconds! <= 10, `${rate.windowSeconds} s`);
  });

  it('give no rate over a total that has fallen, or over more than a minute', () => {
    const samples = new GatewaySamples();
    samples.put('a', { at: at(0), bytesSentTotal: 9_000 });
    samples.put('a', { at: at(10), bytesSentTotal: 100 });
    assert.equal(samples.value('a', BYTES_METRIC, at(10)), undefined);
    samples.put('a', { at: at(20), bytesSentTotal: 1_100 });
    assert.equal(samples.value('a', BYTES_METRIC, at(20))?.value, 100);
    samples.put('a', { at: at(90), bytesSentTotal: 8_000 });
    assert.equal(samples.value('a', BYTES_METRIC, at(90)), undefined);
  });

  it('take no sample that is older than what they have', () => {
    const samples = new GatewaySamples();
    samples.put('a', { at: at(10), connections: 2 });
    samples.put('a', { at: at(5), connections: 1 });
    assert.equal(samples.value('a', CONNECTIONS_METRIC, at(10))?.value, 2);
  });

  it('are forgotten when nothing was heard of their pods for a while', () => {
    const samples = new GatewaySamples();
    for (let pod = 0; pod < 1_000; pod++) samples.put(`pod-${pod}`, { at: at(pod), connections: 1 });
    assert.ok(samples.size <= 121, `${samples.size}`);
    assert.equal(samples.value('pod-999', CONNECTIONS_METRIC, at(1_000))?.value, 1);
  });
});
