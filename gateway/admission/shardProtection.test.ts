import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { Settings } from '@pushcluster/protocol/settings.ts';
import { pino } from 'pino';
import { ShardProtection } from './shardProtection.ts';

const FD_LIMIT = 10_000;
const OWN_FDS = 20;

describe('the protection of a shard', () => {
  let settings: Settings['gateway']['protection'];
  let connections: number;
  let asked: number;
  /** Descriptors, as the kernel counts them. */
  let open: number;
  /** How often they were counted. */
  let counted: number;
  let protection: ShardProtection;

  beforeEach(() => {
    settings = { ...Settings.parse({}).gateway.protection, handshakes: 10 };
    connections = 0;
    asked = 0;
    counted = 0;
    protection = new ShardProtection({
      settings: () => settings,
      log: pino({ level: 'silent' }),
      fdLimit: FD_LIMIT,
      ownFds: OWN_FDS,
      connections: () => connections,
      asked: () => asked,
      others: () => 3,
      openFds: () => {
        counted++;
        return open;
      },
    });
    protection.allowance = 1_000_000;
  });

  it('takes nobody on before the hub has said how many', () => {
    protection.allowance = 0;
    assert.equal(protection.refusal()?.code, 'full');
  });

  it('refuses before the last descriptor is used, and takes on again once some are free', () => {
    connections = 9_776;
    assert.equal(protection.fds, OWN_FDS + 3 + connections);
    assert.equal(protection.refusal(), undefined);
    connections = 9_777;
    assert.equal(protection.refusal()?.code, 'fds');
    connections = 9_700;
    assert.equal(protection.refusal()?.code, 'fds', 'not before it is well below');
    connections = 9_650;
    assert.equal(protection.refusal(), undefined);
  });

  it('refuses where the hub has yet to answer for as many as may be under way, gone or not', () => {
    asked = 10;
    assert.equal(protection.refusal(), undefined);
    asked = 11;
    assert.equal(protection.refusal()?.code, 'handshakes');
  });

  it('counts the descriptor of a closed connection until the kernel says that it is gone', () => {
    const known = () => OWN_FDS + 3 + connections;
    connections = 9_700;
    for (let i = 0; i < 100; i++) protection.closed();
    assert.equal(protection.refusal()?.code, 'fds', 'the engine may hold all of them');
    open = known() + 80;
    protection.observe(0);
    assert.equal(protection.fds, open);
    assert.equal(protection.refusal()?.code, 'fds', 'it holds most of them');
    open = known();
    protection.observe(0);
    assert.equal(protection.fds, open);
    connections = 9_650;
    assert.equal(protection.refusal(), undefined);
  });

  it('asks the kernel only where closed connections may make a shortage: to count is slow', () => {
    open = OWN_FDS + 3;
    const close = (count: number) => {
      for (let i = 0; i < count; i++) protection.closed();
      protection.observe(0);
    };
    close(8_000);
    assert.equal(counted, 0);
    close(1_000);
    assert.equal(counted, 1);
    close(0);
    assert.equal(counted, 1, 'none was held');
    open += 500;
    close(9_000);
    close(0);
    assert.equal(counted, 3, 'some are held: until when?');
    assert.equal(protection.fds, open);
  });

  it('takes on those who were all cut off and come back at once, as far as their former descriptors are gone', () => {
    connections = 0;
    for (let i = 0; i < 9_000; i++) protection.closed();
    open = OWN_FDS + 3;
    for (; connections < 9_700; connections++, open++) {
      assert.ok(protection.opened());
      assert.equal(protection.refusal(), undefined, `${connections}`);
      protection.ended();
    }
    assert.equal(counted, 1);
    connections = 1_000;
    open = OWN_FDS + 3 + 9_800;
    for (let i = 0; i < 8_800; i++) protection.closed();
    for (let i = 0; i < 100; i++) assert.equal(protection.refusal()?.code, 'fds', 'the engine holds all of them');
    assert.equal(counted, 2, 'not for each of them');
  });

  it('keeps some descriptors free whatever is set', () => {
    settings.fds = 1;
    connections = FD_LIMIT - 64 - OWN_FDS - 3 - 1;
    assert.equal(protection.refusal(), undefined);
    connections++;
    assert.equal(protection.refusal()?.code, 'fds');
    assert.equal(protection.opened(), false, 'one more would use what is kept');
  });

  it('cuts sockets beyond twice as many unread, and answers every request that has come: to refuse it would cost as much', () => {
    for (let i = 0; i < 20; i++) assert.ok(protection.opened());
    assert.equal(protection.opened(), false);
    assert.equal(protection.refusal(), undefined);
    for (let i = 0; i < 2; i++) protection.ended();
    assert.equal(protection.handshakes, 19);
    assert.ok(protection.opened());
  });

  it('refuses while its loop is late, and not while it is merely busy', () => {
    for (let i = 0; i < 60; i++) protection.observe(60);
    assert.equal(protection.refusal(), undefined);
    for (let i = 0; i < 3; i++) protection.observe(800);
    assert.equal(protection.refusal()?.code, 'loop');
    assert.equal(protection.loopPressure, 1);
    for (let i = 0; i < 3; i++) protection.observe(0);
    assert.equal(protection.refusal(), undefined);
  });

  it('cuts most sockets unread while its loop is late: TLS takes its time before it can be refused', () => {
    settings.handshakes = 100;
    protection.short = 'loop';
    for (let i = 0; i < 10; i++) assert.ok(protection.opened());
    assert.equal(protection.opened(), false);
    protection.short = undefined;
    assert.ok(protection.opened());
  });

  it('goes by the hub’s word', () => {
    protection.short = 'loop';
    assert.equal(protection.refusal()?.code, 'loop');
    protection.short = 'memory';
    connections = 500;
    assert.equal(protection.refusal(), undefined, 'memory is kept by the allowance');
    protection.allowance = 500;
    assert.equal(protection.refusal()?.code, 'memory');
    protection.short = undefined;
    assert.equal(protection.refusal()?.code, 'full');
  });

  it('says 503 whatever is short', () => {
    protection.short = 'loop';
    assert.equal(protection.refusal()?.status, 503);
  });
});
