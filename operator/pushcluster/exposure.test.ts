import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { z } from 'zod';
import type { Spec } from '../api/pushCluster.ts';
import { clusterOf } from './desired/fixture.ts';
import { exposure } from './exposure.ts';

type SpecInput = z.input<typeof Spec>;
const balanced = { service: { type: 'LoadBalancer' } } as const;
const jwt = { jwksUrl: 'https://id.example.com/jwks.json' };
const tell = (spec: SpecInput) => exposure(clusterOf(spec));

describe('what is told of gateways that anyone may connect to', () => {
  it('is nothing of an empty spec: nobody reaches them from outside', () => {
    assert.equal(tell({}), undefined);
  });

  it('is said wherever they are reached from outside', () => {
    const places: [SpecInput['gateway'], RegExp][] = [
      [balanced, /reaches the load balancer \(gateway\.service\.type\)/],
      [{ service: { type: 'NodePort' } }, /reaches a node \(gateway\.service\.type\)/],
      [{ service: { externalIPs: ['198.51.100.7'] } }, /reaches gateway\.service\.externalIPs/],
      [{ hostNetwork: true }, /reaches a node \(gateway\.hostNetwork\)/],
    ];
    for (const [gateway, expected] of places) assert.match(tell({ gateway }) ?? '', expected);
  });

  it('is nothing where somebody limited who may connect', () => {
    const limits: SpecInput[] = [
      { auth: { jwt } },
      { auth: { jwt, anonymous: false } },
      { auth: { allowedOrigins: ['https://example.com'] } },
      { auth: { allowedOrigins: ['https://*.example.com', 'null'] } },
      { gateway: { service: { type: 'LoadBalancer', loadBalancerSourceRanges: ['203.0.113.0/24'] } } },
    ];
    for (const limit of limits) assert.equal(tell({ gateway: balanced, ...limit }), undefined, JSON.stringify(limit));
  });

  it('is said of source ranges in which everybody is', () => {
    for (const range of ['0.0.0.0/0', '::/0', '::/00'])
      assert.match(
        tell({ gateway: { service: { type: 'LoadBalancer', loadBalancerSourceRanges: ['203.0.113.0/24', range] } } }) ??
          '',
        /load balancer/,
      );
  });

  it('is said of origins that are every origin, however that is written', () => {
    for (const any of ['*', '*/', 'https://*', '*://*', '*:*', 'HTTPS://*', 'https://*:443', '*:443'])
      assert.match(
        tell({ gateway: balanced, auth: { allowedOrigins: ['https://example.com', any] } }) ?? '',
        /every web/,
      );
  });

  it('names the fields that change it, and TLS only where gateways have none', () => {
    assert.equal(
      tell({ gateway: balanced }),
      'anyone who reaches the load balancer (gateway.service.type) may connect, without a token and from every web page: if that is not intended, set auth.jwt and auth.allowedOrigins; gateways do not encrypt connections, so terminate TLS in front of them or set gateway.service.tls',
    );
    const encrypted = { service: { type: 'LoadBalancer', tls: { secretName: 'tls' } } } as const;
    assert.match(
      tell({ gateway: encrypted, auth: { jwt, anonymous: true } }) ?? '',
      /set auth\.anonymous to false and auth\.allowedOrigins$/,
    );
  });
});
