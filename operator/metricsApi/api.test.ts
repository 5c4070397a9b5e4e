import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { askedFor, BYTES_METRIC, CONNECTIONS_METRIC, valueList } from './api.ts';

const PODS = '/apis/custom.metrics.k8s.io/v1beta2/namespaces/shop/pods';

describe('a path of the metrics API', () => {
  it('asks for a document, the health, values or nothing', () => {
    assert.equal(askedFor('/apis').what, 'document');
    assert.equal(askedFor('/apis/custom.metrics.k8s.io/v1beta2/').what, 'document');
    assert.equal(askedFor('/readyz').what, 'health');
    assert.deepEqual(askedFor(`${PODS}/*/${CONNECTIONS_METRIC}`), {
      what: 'values',
      namespace: 'shop',
      name: '*',
      metric: CONNECTIONS_METRIC,
    });
    for (const path of [
      '/',
      '',
      '/metrics',
      PODS,
      `${PODS}/a`,
      `${PODS}/a/b/c`,
      `${PODS}//b`,
      `${PODS}/%/b`,
      PODS.replace('pods', 'services/a/b'),
      '/apis/custom.metrics.k8s.io/v1beta1',
    ])
      assert.equal(askedFor(path).what, 'nothing', path);
  });
});

describe('a list of values', () => {
  it('has the form of custom.metrics.k8s.io/v1beta2', () => {
    const at = Date.UTC(2026, 10, 23, 1, 2, 3, 456);
    const value = { pod: 'a', namespace: 'shop', metric: BYTES_METRIC, value: 1234.5, at, windowSeconds: 10 } as const;
    assert.deepEqual(valueList([value]), {
      kind: 'MetricValueList',
      apiVersion: 'custom.metrics.k8s.io/v1beta2',
      metadata: {},
      items: [
        {
          describedObject: { kind: 'Pod', namespace: 'shop', name: 'a', apiVersion: '/v1' },
          metric: { name: 'pushcluster_gateway_bytes_per_second', selector: null },
          timestamp: '2026-11-23T01:02:03Z',
          windowSeconds: 10,
          value: '1235',
        },
      ],
    });
  });
});
