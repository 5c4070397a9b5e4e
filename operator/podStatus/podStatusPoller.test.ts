import assert from 'node:assert/strict';
import { createServer, type RequestListener, type Server } from 'node:http';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { PodStatus } from '@pushcluster/protocol/podStatus.ts';
import { FakeClock } from '@pushcluster/runtime/fakeClock.ts';
import { OWN_PORT, ownAddress } from '@pushcluster/test/harness/loopback.ts';
import { until } from '@pushcluster/test/harness/until.ts';
import type { KubeObject } from '../kube/objects.ts';
import { PodStatusPoller, type PodStatusPollerOptions, STALE_MS } from './podStatusPoller.ts';

const status = (change: Partial<PodStatus> = {}): PodStatus => ({
  version: '1.0.0',
  role: 'gateway',
  name: 'g',
  draining: false,
  connections: 5,
  settings: { generation: 1, file: 'a'.repeat(64) },
  fds: { limit: 1_000, open: 10 },
  pressure: {},
  bus: { connected: true },
  ...change,
});
const pod = (uid: string, podIP: string, phase = 'Running'): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: `live-gateway-${uid}`, namespace: 'shop', uid },
  ...{ status: { podIP, phase } },
});

/** All pods answer on one port, each on an address of its own. */
const servers: Server[] = [];
async function serve(last: number, answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  servers.push(server);
  const host = ownAddress(last);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port: OWN_PORT }, resolve);
  });
  return host;
}
/** Nobody listens there. */
const NOBODY = ownAddress(199);

describe('what pods say of themselves', () => {
  let clock: FakeClock;
  let poller: PodStatusPoller | undefined;
  beforeEach(() => {
    clock = new FakeClock();
  });
  afterEach(async () => {
    poller?.stop();
    poller = undefined;
    for (const server of servers.splice(0)) {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    }
  });

  function poll(pods: KubeObject[], more: Partial<PodStatusPollerOptions> = {}): PodStatusPoller {
    poller = new PodStatusPoller({ pods: () => pods, port: OWN_PORT, clock, random: () => 0.5, ...more });
    poller.start();
    return poller;
  }

  /** Each question has a timer until it has its answer or none, and the poller has one for its next tick. */
  const answered = () => until('no question is under way', () => clock.timers === 1);

  /** Goes on by `ms`, and lets pods answer at once. */
  async function pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 250) {
      clock.advance(250);
      await answered();
    }
  }

  it('is asked for at once, then every 10 s, and every 2 s where somebody waits for it', async () => {
    const asked: Record<'calm' | 'urgent', number[]> = { calm: [], urgent: [] };
    const began = clock.now();
    const answering =
      (name: 'calm' | 'urgent'): RequestListener =>
      (_, response) =>
        response.end(JSON.stringify(status({ connections: asked[name].push(clock.now() - began) })));
    const pods = [pod('calm', await serve(1, answering('calm'))), pod('urgent', await serve(2, answering('urgent')))];
    const found = poll(pods, { isUrgent: ({ metadata }) => metadata.uid === 'urgent' });
    await answered();
    await pass(9_250);
    assert.deepEqual(asked, { calm: [0], urgent: [0, 2_250, 4_500, 6_750, 9_000] });
    await pass(250);
    assert.deepEqual(asked.calm, [0, 9_500]);
    assert.equal(found.reading('calm')?.status.connections, 2);
    assert.equal(found.reading('calm')?.at, clock.wall());
  });

  it('is old after 20 s, and not before, whatever the wall clock is set to meanwhile', async () => {
    let isUp = true;
    const host = await serve(1, (_, response) => (isUp ? response.end(JSON.stringify(status())) : response.destroy()));
    const found = poll([pod('a', host)]);
    await answered();
    isUp = false;
    clock.step(3_600_000);
    assert.ok(found.freshReading('a'));
    clock.step(-7_200_000);
    await pass(STALE_MS);
    assert.ok(found.freshReading('a'));
    await pass(250);
    assert.equal(found.freshReading('a'), undefined);
  });

  it('is asked for up to a second before its 10 s are over: those that came together are spread', async () => {
    const asked: number[] = [];
    const host = await serve(1, (_, response) => {
      asked.push(clock.now());
      response.end(JSON.stringify(status()));
    });
    const chances = [0, 1];
    poll([pod('a', host)], { random: () => chances.shift() ?? 0.5 });
    await answered();
    await pass(20_000);
    assert.deepEqual(asked, [0, 9_000, 19_000]);
  });

  it('is asked for anew before it is due, and waited for by whoever wants that until each has answered or not', async () => {
    let asked = 0;
    let isUp = true;
    const calm = await serve(1, (_, response) => response.end(JSON.stringify(status({ connections: ++asked }))));
    const falls = await serve(2, (_, response) => {
      if (isUp) response.end(JSON.stringify(status()));
      else response.destroy();
    });
    const pods = [pod('calm', calm), pod('falls', falls)];
    const found = poll(pods);
    await answered();
    isUp = false;
    await found.refresh(['calm', 'falls', 'nobody']);
    assert.equal(found.reading('calm')?.status.connections, 2);
    assert.match(found.failure('falls') ?? '', /socket hang up|ECONNRESET/);
    assert.equal(asked, 2);
  });

  it('is asked for once more where a question is under way: its answer may be from before', async () => {
    const held: (() => void)[] = [];
    const host = await serve(1, (_, response) => {
      const connections = held.length + 1;
      held.push(() => response.end(JSON.stringify(status({ connections }))));
    });
    const found = poll([pod('a', host)]);
    await until('it is asked', () => held.length === 1);
    let isOver = false;
    const refreshed = found.refresh(['a']).then(() => {
      isOver = true;
    });
    held[0]?.();
    await until('it is asked once more', () => held.length === 2);
    assert.equal(found.reading('a')?.status.connections, 1);
    assert.equal(isOver, false);
    held[1]?.();
    await refreshed;
    assert.equal(found.reading('a')?.status.connections, 2);
  });

  it('is not waited for when the pod is gone, nor for ever', async () => {
    const host = await serve(1, () => {});
    const pods = [pod('hangs', host), pod('goes', NOBODY)];
    const found = poll(pods);
    await until('one fails', () => found.counts.unanswered === 1);
    pods.pop();
    await found.refresh(['goes']);
    let isOver = false;
    const refreshed = found.refresh(['hangs']).then(() => {
      isOver = true;
    });
    clock.advance(4_999);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(isOver, false);
    clock.advance(2);
    await refreshed;
  });

  it('is not waited for any more by whoever asked anew when nobody is asked any more', async () => {
    let questions = 0;
    // Not where the pod before it hung: a question to that may yet come.
    const host = await serve(9, () => {
      questions++;
    });
    const asking = poll([pod('a', host)]);
    await until('the first question is under way', () => questions === 1);
    const refreshed = asking.refresh(['a']);
    asking.stop();
    await refreshed;
    await asking.refresh(['a']);
    assert.equal(questions, 1);
  });

  it('tells nothing of now when it is older than 20 s, and is forgotten with its pod', async () => {
    let isUp = true;
    const host = await serve(1, (_, response) => {
      if (isUp) response.end(JSON.stringify(status()));
      else response.destroy();
    });
    const pods = [pod('a', host)];
    const silent: string[] = [];
    const found = poll(pods, { onSilence: ({ metadata }) => silent.push(metadata.name) });
    await answered();
    isUp = false;
    await pass(10_250);
    assert.equal(found.counts.unanswered, 1);
    assert.ok(found.freshReading('a'));
    await pass(STALE_MS);
    assert.ok(found.counts.unanswered > 1);
    assert.equal(found.freshReading('a'), undefined);
    assert.equal(found.reading('a')?.status.connections, 5);
    assert.deepEqual(silent, ['live-gateway-a']);
    assert.match(found.failure('a') ?? '', /socket hang up|ECONNRESET/);
    pods.pop();
    clock.advance(250);
    assert.equal(found.reading('a'), undefined);
  });

  it('is refused where it is garbage, endless, late, an error or nothing at all', async () => {
    const answers: [string, RequestListener, RegExp][] = [
      ['garbage', (_, response) => response.end('<html>'), /the response is not a valid status: response: /],
      ['old', (_, response) => response.writeHead(404).end(), /GET \/status returned status 404/],
      [
        'wrong',
        (_, response) => response.end('{"version":"1","role":"cook"}'),
        /the response is not a valid status: role: /,
      ],
      ['endless', (_, response) => response.end('x'.repeat(1 << 20)), /exceeds 16384 bytes/],
      ['hangs', () => {}, /no response within 2 s/],
      [
        'drips',
        (_, response) => {
          const drip = setInterval(() => response.write(' '), 50);
          response.once('close', () => clearInterval(drip));
        },
        /no response within 2 s/,
      ],
    ];
    const pods: KubeObject[] = [];
    for (const [index, [name, answer]] of answers.entries()) pods.push(pod(name, await serve(index + 1, answer)));
    pods.push(pod('nobody', NOBODY), pod('pending', ownAddress(198), 'Pending'));
    const found = poll(pods);
    // Two hang: they are given up at 2 s, and not before.
    await until('the others have failed', () => found.counts.unanswered === answers.length - 1);
    clock.advance(1_999);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(found.counts.unanswered, answers.length - 1);
    clock.advance(1);
    await until(
      'those have failed too',
      () => found.failure('hangs') !== undefined && found.failure('drips') !== undefined,
    );
    for (const [name, , why] of answers) assert.match(found.failure(name) ?? '', why);
    assert.match(found.failure('nobody') ?? '', /ECONNREFUSED/);
    assert.equal(found.failure('pending'), undefined);
    assert.equal(found.counts.answered, 0);
  });

  it('of others is had in time though more pods hang than are asked at once', async () => {
    let open = 0;
    let most = 0;
    const hanging: RequestListener = (request) => {
      most = Math.max(most, ++open);
      request.once('close', () => open--);
    };
    const hosts = [];
    for (let last = 1; last <= 80; last++) hosts.push(await serve(last, hanging));
    const good = await serve(81, (_, response) => response.end(JSON.stringify(status())));
    const found = poll([...hosts.map((host, index) => pod(`h${index}`, host)), pod('good', good)]);
    await until('as many are asked as may be at once', () => open === 64);
    clock.advance(2_000);
    await until('those asked first have failed', () => found.counts.unanswered === 64);
    clock.advance(250);
    await until('the good one has answered', () => found.counts.answered === 1);
    assert.ok(most <= 64, `${most} at once`);
  });
});
