import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { anyFrames, anyHandshake, goodHandshake, oddFrames } from '../fuzz/inbound.ts';
import { Chance } from '../harness/chance.ts';
import { Connection, cutAll, WIRE_FORMS } from '../harness/connection.ts';
import { Lateness } from '../harness/lateness.ts';
import { Ledger } from '../harness/ledger.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import { type GatewayProcess, type LogicProcess, startGateway, startLogic } from '../harness/processes.ts';
import { RawWebSocket } from '../harness/rawWebSocket.ts';
import { until } from '../harness/until.ts';

/** FUZZ_SECONDS=600 for a long run; FUZZ_SEED to have the same strangers again. */
const SECONDS = Number(process.env.FUZZ_SECONDS ?? 5);
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);
const STRANGERS = 8;
/** One that is served well is answered within this, milliseconds, and what the machine is late. */
const ANSWERED_WITHIN = 2_000;

let nats: NatsServer;
let gateway: GatewayProcess;
let logic: LogicProcess;
before(async () => {
  nats = await startNatsServer();
  [gateway, logic] = await Promise.all([
    startGateway({
      nats: [nats.url],
      settings: { gateway: { shards: 1, echo: true, batching: { maxDelay: '50ms' } } },
    }),
    startLogic({ nats: [nats.url] }),
  ]);
  // Tokens are looked at too.
  const secretFile = join(gateway.folder.path, 'secret');
  writeFileSync(secretFile, 'a secret that is long enough for HS256');
  await gateway.configure({ auth: { jwt: { secretFile }, anonymous: true } });
  await logic.hearsAll();
});
after(async () => {
  await Promise.all([gateway?.stop(), logic?.stop()]);
  await nats?.stop();
});

it('whatever strangers send, the gateway stands, forgets them, and serves the others', {
  timeout: (SECONDS + 120) * 1_000,
}, async (t) => {
  t.diagnostic(`FUZZ_SEED=${SEED} FUZZ_SECONDS=${SECONDS}`);
  const shards = gateway.shardPids;
  const ledger = new Ledger();
  const writer = ledger.writer('w', { room: 'good' }, logic);
  const good = await Promise.all(WIRE_FORMS.map((form) => Connection.open({ port: gateway.port, form })));
  for (const connection of good) await connection.join('good');

  const lateness = Lateness.during(t);
  const end = performance.now() + SECONDS * 1_000;
  let visits = 0;
  let slowest = 0;
  const strangers = Array.from({ length: STRANGERS }, async (_, i) => {
    const chance = new Chance(SEED + i);
    // So many at least, however long they take.
    while (performance.now() < end || visits < 10 * SECONDS) {
      await visit(chance);
      visits++;
    }
  });
  const served = (async () => {
    while (performance.now() < end) {
      await writer.push(3);
      const began = performance.now();
      await Promise.all(good.map((connection) => connection.ping()));
      slowest = Math.max(slowest, performance.now() - began);
      await setTimeout(20);
    }
  })();
  await Promise.all([...strangers, served]);

  t.diagnostic(`${visits} visits of strangers; the slowest PONG to others took ${Math.round(slowest)} ms`);
  assert.ok(slowest < ANSWERED_WITHIN + lateness.total, `a PONG took ${Math.round(slowest)} ms`);
  await ledger.settle(t, good);
  // The strangers are gone, and nothing of them is left.
  await gateway.holds(good.length);
  const metrics = await gateway.metrics();
  const frames = metrics.sum('pushcluster_gateway_frames_received_total');
  const codes = [...metrics.by('pushcluster_gateway_connections_closed_total', 'code')].map((pair) => pair.join(': '));
  t.diagnostic(`${frames} messages were understood as such; closed by code: ${codes.sort().join(', ')}`);
  assert.ok(frames > visits, 'hardly a message came through');
  await until(
    'their rooms are forgotten',
    async () => (await gateway.metrics()).sum('pushcluster_gateway_rooms') === 1,
  );
  assert.equal(metrics.sum('pushcluster_gateway_shard_restarts_total'), 0);
  assert.deepEqual(gateway.shardPids, shards);
  const errors = gateway.output
    .split('\n')
    .filter((line) => line.includes('"level":"error"') || line.includes('Error:'));
  assert.deepEqual(errors.slice(0, 5), []);
  cutAll(good);
});

/** A stranger connects, says what comes to mind, and goes in some way. */
async function visit(chance: Chance): Promise<void> {
  const raw = await RawWebSocket.dial(gateway.port);
  raw.discard();
  raw.send(chance.once(4) ? anyHandshake(chance) : goodHandshake(chance));
  await turn();
  // One wrong word mostly ends it: some begin with many that are only odd.
  for (let left = chance.below(30); left > 0 && !raw.ended; left--) raw.send(...oddFrames(chance));
  await turn();
  for (let left = chance.below(10); left > 0 && !raw.ended; left--) {
    for (const bytes of anyFrames(chance)) {
      // In one packet, or cut somewhere.
      const cut = chance.once(5) ? chance.below(bytes.length + 1) : bytes.length;
      raw.send(bytes.subarray(0, cut));
      if (cut < bytes.length) await turn();
      raw.send(bytes.subarray(cut));
    }
    if (chance.once(3)) await turn();
  }
  await turn();
  if (chance.once(3)) raw.socket.end();
  else if (chance.once(2)) raw.socket.resetAndDestroy();
  else raw.destroy();
  if (!raw.ended) await setTimeout(1);
  raw.destroy();
}

/** What was written is on its way, and the gateway had a moment. */
const turn = () => setTimeout(1);
