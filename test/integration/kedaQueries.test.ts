import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { kedaQueries } from '../harness/autoscalerQueries.ts';

const run = promisify(execFile);
const [CONNECTIONS = '', BYTES = ''] = kedaQueries({ namespace: 'shop', name: 'live' });

/** Series as promtool writes them: one sample a minute, `_` for a scrape that brought nothing, `stale` at its end. */
type Series = Record<string, string>;

const labels = (number: number, more = '') => `{namespace="shop",pod="live-gateway-7d9f5-aaaa${number}"${more}}`;
const up = (number: number, more = '') => `up${labels(number, more)}`;
const holds = (number: number, more = '') => `pushcluster_gateway_connections${labels(number, more)}`;
const sent = (number: number) => `pushcluster_gateway_bytes_sent_total${labels(number)}`;

/** Three gateways of 100 connections. */
const ALL: Series = Object.fromEntries(
  [1, 2, 3].flatMap((each) => [
    [up(each), '1x90'],
    [holds(each), '100x90'],
    [sent(each), '0+6000x90'],
  ]),
);
/** The third gateway is not scraped from the eleventh minute on. */
const LOST: Series = { [up(3)]: '1x10 0x80', [holds(3)]: '100x10 stale', [sent(3)]: '0+6000x10 stale' };
const without = (series: Series, ...names: string[]): Series =>
  Object.fromEntries(Object.entries(series).filter(([name]) => !names.includes(name)));

describe('the queries of KEDA', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pushcluster-keda-'));
  after(() => rmSync(folder, { recursive: true }));

  for (const [what, series, at, connections, bytes] of [
    ['are the sums over all gateways', ALL, '30m', 300, 300],
    ['count a gateway that is scraped no more as what it held', { ...ALL, ...LOST }, '11m', 300, 300],
    ['count it so for an hour', { ...ALL, ...LOST }, '65m', 300, 300],
    ['forget it then', { ...ALL, ...LOST }, '85m', 200, 200],
    ['count none that is gone, at once', { ...ALL, ...LOST, [up(3)]: '1x10 stale' }, '11m', 200, 200],
    [
      'count all of them when none is scraped any more',
      Object.fromEntries(
        Object.entries(ALL).map(([name]) => [
          name,
          name.startsWith('up') ? '1x10 0x80' : name.includes('sent') ? '0+6000x10 stale' : '100x10 stale',
        ]),
      ),
      '30m',
      300,
      300,
    ],
    [
      'count no new gateway before it was scraped',
      without({ ...ALL, [up(3)]: '0x90' }, holds(3), sent(3)),
      '30m',
      200,
      200,
    ],
    ['are empty where Prometheus has no targets: that is not 0', {}, '30m', undefined, undefined],
    [
      'count a gateway once that two jobs scrape',
      { ...ALL, [up(3, ',job="second"')]: '1x90', [holds(3, ',job="second"')]: '100x90' },
      '30m',
      300,
      300,
    ],
    [
      'count no other cluster',
      {
        ...ALL,
        'up{namespace="shop",pod="live-gateway-extra-gateway-7d9f5-aaaa1"}': '1x90',
        'pushcluster_gateway_connections{namespace="shop",pod="live-gateway-extra-gateway-7d9f5-aaaa1"}': '900x90',
        'up{namespace="other",pod="live-gateway-7d9f5-aaaa1"}': '1x90',
        'pushcluster_gateway_connections{namespace="other",pod="live-gateway-7d9f5-aaaa1"}': '900x90',
      },
      '30m',
      300,
      300,
    ],
  ] as [string, Series, string, number | undefined, number | undefined][]) {
    it(what, async () => {
      const expected = (value: number | undefined) => (value === undefined ? [] : [{ labels: '{}', value }]);
      const file = join(folder, `${what.replace(/[^a-z]+/g, '-')}.yaml`);
      const test = {
        interval: '1m',
        input_series: Object.entries(series).map(([series, values]) => ({ series, values })),
        promql_expr_test: [
          { expr: CONNECTIONS, eval_time: at, exp_samples: expected(connections) },
          { expr: BYTES, eval_time: at, exp_samples: expected(bytes) },
        ],
      };
      writeFileSync(file, stringify({ evaluation_interval: '1m', tests: [test] }));
      const { stdout } = await run('promtool', ['test', 'rules', file]).catch(
        (error: { stdout: string; stderr: string }) => assert.fail(`${error.stdout}${error.stderr}`),
      );
      assert.match(stdout, /SUCCESS/);
    });
  }
});
