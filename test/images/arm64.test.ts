import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { buildImages, clusterPackages } from '../harness/cluster/images.ts';
import { runToEnd } from '../harness/cluster/program.ts';
import { Connection, WIRE_FORMS } from '../harness/connection.ts';
import { type NatsServer, startNatsServer } from '../harness/natsServer.ts';
import {
  type GatewayProcess,
  type Installed,
  type LogicProcess,
  startGateway,
  startLogic,
} from '../harness/processes.ts';
import { UnpackedImage } from '../harness/unpackedImage.ts';
import { until } from '../harness/until.ts';

const NAMES = ['gateway', 'logic', 'operator', 'node-tuning'] as const;
/** EM_AARCH64 in elf.h. */
const AARCH64 = 183;
const DEADLINE_MS = 120_000;

const skip = process.arch === 'arm64' ? 'this machine is one: all other tests run what is for arm64' : false;

describe('the images for arm64, built on another processor', { skip }, () => {
  let folder: string;
  const images = new Map<string, UnpackedImage>();
  before(async () => {
    await clusterPackages();
    folder = await mkdtemp(join(tmpdir(), 'pushcluster-arm64-'));
    const archives = await buildImages(NAMES, undefined, { arch: 'arm64' });
    for (const [i, name] of NAMES.entries()) images.set(name, await UnpackedImage.of(archives[i] ?? ''));
  });
  after(async () => {
    await Promise.all([...images.values()].map((image) => image.remove()));
    await rm(folder, { recursive: true, force: true });
  });

  const image = (name: (typeof NAMES)[number]): UnpackedImage => {
    const found = images.get(name);
    assert.ok(found, name);
    return found;
  };

  /** What runs a program of an image on this machine's processor. */
  const emulated = (name: (typeof NAMES)[number], program: string) => {
    const { root } = image(name);
    return ['qemu-aarch64', '-L', root, join(root, program)];
  };

  /** The image's Node, which starts others of its kind: these have to be emulated too. */
  async function installed(name: 'gateway' | 'logic'): Promise<Installed> {
    const node = join(folder, `${name}-node`);
    await writeFile(node, `#!/bin/sh\nexec ${emulated(name, 'usr/local/bin/node').join(' ')} "$@"\n`);
    await chmod(node, 0o755);
    const option = `--import=data:text/javascript,process.execPath=${JSON.stringify(node).replaceAll('"', "'")}`;
    return { node, app: join(image(name).root, 'app'), env: { NODE_OPTIONS: option, NODE_COMPILE_CACHE: '' } };
  }

  for (const name of NAMES)
    it(`${name} is for arm64, and nothing in it is for another processor`, async () => {
      const { config } = image(name);
      assert.deepEqual([config.architecture, config.os], ['arm64', 'linux']);
      assert.equal(config.config.User, name === 'node-tuning' ? '0:0' : '65532:65532');
      const machines = await image(name).machines();
      assert.equal(machines.get('/usr/local/bin/node'), AARCH64);
      assert.deepEqual(
        [...machines].filter(([, machine]) => machine !== AARCH64),
        [],
      );
      assert.deepEqual(await image(name).missingLibraries(), []);
      const engines = [...machines.keys()]
        .filter((file) => file.endsWith('.node'))
        .map((file) => file.split('/').pop());
      assert.deepEqual(engines, name === 'gateway' ? [`uws_linux_arm64_${process.versions.modules}.node`] : []);
    });

  it('gateway and logic run: what is pushed reaches clients of every wire form', async (t) => {
    let nats: NatsServer | undefined;
    let gateway: GatewayProcess | undefined;
    let logic: LogicProcess | undefined;
    const connections: Connection[] = [];
    t.after(async () => {
      for (const connection of connections) connection.cut();
      await Promise.all([gateway?.stop(), logic?.stop()]);
      await nats?.stop();
    });
    nats = await startNatsServer();
    // An emulated shard takes its time to start, and longer beside other work.
    const shardWatch = { hangTimeout: 120_000 };
    const settings = { gateway: { shards: 1, batching: { maxDelay: 200 }, shardWatch }, auth: { anonymous: true } };
    gateway = await startGateway({ nats: [nats.url], settings, installed: await installed('gateway') });
    logic = await startLogic({ nats: [nats.url], installed: await installed('logic') });
    for (const form of WIRE_FORMS) {
      const connection = await Connection.open({ port: gateway.port, form, keepItems: true });
      connections.push(connection);
      await connection.join('football');
    }
    const items = ['"goal"', JSON.stringify('so long that it is compressed '.repeat(100))];
    const { status, body } = await logic.push({ room: 'football' }, items);
    assert.equal(status, 202, JSON.stringify(body));
    for (const { form, items: came } of connections)
      await until(`the client of form ${form} has both`, () => came.length === 2, DEADLINE_MS);
    for (const { items: came } of connections)
      assert.deepEqual(
        came,
        items.map((text) => ({ room: 'football', text })),
      );
    assert.equal((await gateway.stop()).code, 0, gateway.output);
  });

  it('the operator and node tuning load, and ethtool finds its libraries', async () => {
    const run = (name: (typeof NAMES)[number], program: string, ...args: string[]) => {
      const [emulator = '', ...rest] = emulated(name, program);
      return runToEnd(emulator, [...rest, ...args], { PATH: process.env.PATH });
    };
    const node = 'usr/local/bin/node';
    const app = (name: (typeof NAMES)[number], file: string) => join(image(name).root, 'app', file);
    assert.match(await run('operator', node, app('operator', 'operator/main.js'), '--help'), /usage/);
    assert.match(await run('node-tuning', node, app('node-tuning', 'operator/nodetuning/main.js'), '--help'), /usage/);
    assert.match(await run('node-tuning', 'usr/sbin/ethtool', '--version'), /^ethtool version \d/);
  });
});
