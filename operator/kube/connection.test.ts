import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { PATIENCE_MS } from '@pushcluster/test/harness/until.ts';
import { connect } from './connection.ts';

const folder = mkdtempSync(join(tmpdir(), 'pushcluster-kubeconfig-'));
after(() => rmSync(folder, { recursive: true }));

function kubeconfig(server: string, user: object): string {
  const file = join(folder, 'kubeconfig');
  const config = {
    clusters: [{ name: 'c', cluster: { server, 'insecure-skip-tls-verify': true } }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u', namespace: 'shop' } }],
    'current-context': 'x',
  };
  writeFileSync(file, JSON.stringify(config));
  return file;
}

describe('a connection', () => {
  it('says what to do where there is no Kubernetes to talk to', () => {
    assert.throws(
      () => connect({}),
      /no Kubernetes cluster found: run in a pod with a service account, or set KUBECONFIG/,
    );
    const file = join(folder, 'empty');
    writeFileSync(file, JSON.stringify({ clusters: [], users: [], contexts: [] }));
    assert.throws(() => connect({ KUBECONFIG: file }), /the kubeconfig has no current context/);
  });

  it('has the address, the namespace and the credentials of its kubeconfig', async () => {
    const asked: { authorization: string | undefined; agent: string | undefined }[] = [];
    const server = createServer(({ headers }, response) => {
      asked.push({ authorization: headers.authorization, agent: headers['user-agent'] });
      response.end('{}');
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    const connection = connect({ KUBECONFIG: kubeconfig(`http://127.0.0.1:${port}/`, { token: 'secret' }) });
    assert.equal(connection.namespace, 'shop');
    const answer = await connection.send({ method: 'GET', path: '/api', signal: AbortSignal.timeout(PATIENCE_MS) });
    assert.equal(await answer.text(), '{}');
    assert.deepEqual(asked, [{ authorization: 'Bearer secret', agent: 'pushcluster-operator' }]);
    server.close();
    server.closeAllConnections();
  });
});
