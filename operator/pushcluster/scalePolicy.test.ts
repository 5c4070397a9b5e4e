import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { surgeOf } from './desired/gateway.ts';
import type { GatewayPod } from './gatewayPod.ts';
import { HOLD_MS, type ObservedGateways, type ScalePlan, scalePlan, UNSEEN, type Wanted } from './scalePolicy.ts';

const NOW = Date.UTC(2026, 0, 1);
const DRAIN = { settle: 5_000, timeout: 60_000 };
const wanted = (replicas: number, more: Partial<Wanted> = {}): Wanted => ({
  replicas,
  drain: DRAIN,
  rebalance: undefined,
  ...more,
});

/** A gateway that serves `connections`. */
function pod(name: string, connections: number | undefined, more: Partial<GatewayPod> = {}): GatewayPod {
  return {
    uid: name,
    name,
    isCurrent: true,
    isReady: true,
    readySince: more.isReady === false ? undefined : NOW - 60_000,
    state: 'running',
    isServing: true,
    drainSince: undefined,
    deletionCost: undefined,
    counted: connections === undefined ? undefined : { connections, at: NOW },
    unknownSince: connections === undefined || more.isReady === false ? NOW - 5_000 : undefined,
    isFuller: undefined,
    isAsked: true,
    isSilent: false,
    ...more,
  };
}
/** One that drains since some seconds ago. */
const drains = (name: string, connections: number | undefined, seconds = 10, more: Partial<GatewayPod> = {}) =>
  pod(name, connections, { isServing: false, drainSince: NOW - seconds * 1_000, deletionCost: -1_000, ...more });
const many = (count: number, name: string) => Array.from({ length: count }, (_, i) => pod(`${name}${i}`, 0));
const unready = { isReady: false };
const pending = { isReady: false, state: 'pending', counted: undefined, isAsked: false } as const;
const ended = { ...pending, deletionCost: -2_000 };
const old = { isCurrent: false };

function decide(pods: GatewayPod[], want: Wanted | number, gateways: Partial<ObservedGateways> = {}): ScalePlan {
  const given = typeof want === 'number' ? wanted(want) : want;
  const known = { isSettled: true, isSeen: true, isAskedAnew: true, terminating: 0 };
  return scalePlan({ pods, replicas: pods.length, ...known, ...gateways }, given, NOW);
}
/** `-a` out of the Service, `+a` in, `a!` to drain, `a?` not any more, `a0` marked as empty. */
function told(pods: readonly GatewayPod[], { changes }: ScalePlan): string {
  return pods
    .flatMap((before) => {
      const after = changes.get(before.uid);
      if (!after) return [];
      const { name } = before;
      const marks = [];
      if (after.isServing !== before.isServing) marks.push(`${after.isServing ? '+' : '-'}${name}`);
      if (after.drainSince !== before.drainSince) marks.push(`${name}${after.drainSince === undefined ? '?' : '!'}`);
      if (after.deletionCost === -2_000 && before.deletionCost !== -2_000) marks.push(`${name}0`);
      return marks;
    })
    .join(' ');
}

describe('the number of gateways', () => {
  const empty = { deletionCost: -2_000 };
  const cases: [
    what: string,
    pods: GatewayPod[],
    want: number,
    replicas: number,
    told: string,
    gateways?: Partial<ObservedGateways>,
  ][] = [
    ['is as wanted before there is any', [], 3, 3, '', { replicas: undefined }],
    ['stays where it is as wanted', [pod('a', 5), pod('b', 5)], 2, 2, ''],
    ['rises at once', [pod('a', 5)], 4, 4, ''],
    [
      'lets the emptiest drain first and removes none yet',
      [pod('a', 9), pod('b', 1), pod('c', 5)],
      1,
      3,
      '-b b! -c c!',
    ],
    ['takes those that do not say how many they have for full', [pod('a', undefined), pod('b', 9)], 1, 2, '-b b!'],
    ['waits until it is known who is emptiest', [pod('a', 9), pod('b', undefined, { isAsked: false })], 1, 2, ''],
    ['lets all drain for 0', [pod('a', 9), pod('b', 1)], 0, 2, '-a a! -b b!'],
    ['waits while a gateway that may hold connections is not ready', [pod('a', 9), pod('b', 1, unready)], 1, 2, ''],
    ['marks those that were never started', [pod('a', 9), pod('b', undefined, pending)], 1, 2, '-b b! b0'],
    ['marks those that do not run', [pod('a', 9), pod('b', 0, { ...unready, state: 'stopped' })], 1, 2, '-b b! b0'],
    [
      'marks those that do not run before another that is not ready',
      [pod('a', 9), pod('b', 4, unready), pod('c', 0, { ...unready, state: 'stopped' })],
      2,
      3,
      '-c c! c0',
    ],
    ['sinks at once by a marked one that was never started', [pod('a', 9), drains('b', undefined, 0, ended)], 1, 1, ''],
    [
      'sinks by a marked one that was never started while another is not ready',
      [pod('a', 9, unready), drains('b', undefined, 0, ended)],
      1,
      1,
      '',
    ],
    [
      'lets one that began to run after all drain before it goes',
      [pod('a', 9), drains('b', 2, 0, { deletionCost: -2_000 })],
      1,
      2,
      '',
    ],
    ['sinks at once by those that are not even made', [pod('a', 9)], 1, 1, '', { replicas: 7 }],
    [
      'does not sink by one that the ReplicaSet may just be making',
      [pod('a', 9)],
      1,
      2,
      '',
      { replicas: 2, isSeen: false },
    ],
    [
      'does not sink before the ReplicaSet knows which are to go',
      [pod('a', 9), drains('b', 0, 10, { deletionCost: -2_000 })],
      1,
      2,
      '',
      { isSeen: false },
    ],
    [
      'waits with a choice until the ReplicaSet knows who serves',
      [pod('a', 9), pod('b', 1)],
      1,
      2,
      '',
      { isSeen: false },
    ],
    ['chooses none before all are asked', [pod('a', 9), pod('b', 1)], 1, 2, '', { isAskedAnew: false }],
    [
      'takes one that did not answer for full, whatever it said before',
      [pod('a', 9), pod('b', 1, { isSilent: true }), pod('c', 5)],
      2,
      3,
      '-c c!',
    ],
    [
      'takes the emptiest of those that did not answer where it takes some',
      [pod('a', 9, { isSilent: true }), pod('b', 1, { isSilent: true }), pod('c', 5)],
      1,
      3,
      '-b b! -c c!',
    ],
    ['lets all serve before one leaves', [pod('a', 90, { isServing: false }), pod('b', 9), pod('c', 5)], 2, 3, '+a'],
    [
      'names one that came in the place of one that was to go',
      [pod('a', 9), pod('b', 7), pod('c', undefined, pending)],
      2,
      2,
      'c0',
      { replicas: 2 },
    ],
    [
      'names the emptiest where one too many is ready already',
      [pod('a', 9), pod('b', 0), pod('c', 8)],
      2,
      2,
      'b0',
      { replicas: 2 },
    ],
    ['lets what drains go on', [pod('a', 9), drains('b', 4)], 1, 2, ''],
    ['does not believe in emptiness before the Service has settled', [pod('a', 9), drains('b', 0, 4)], 1, 2, ''],
    ['marks an empty one before it removes it', [pod('a', 9), drains('b', 0), drains('c', 3)], 1, 3, 'b0'],
    ['sinks by those that are marked', [pod('a', 9), drains('b', 0, 10, empty), drains('c', 3)], 1, 2, ''],
    ['marks one whose time is over, full or not', [pod('a', 9), drains('b', 4, 75)], 1, 2, 'b0'],
    ['sinks by one whose time is over', [pod('a', 9), drains('b', 4, 75, empty)], 1, 1, ''],
    ['takes one that ended as empty', [pod('a', 9), drains('b', 4, 6, { ...unready, state: 'stopped' })], 1, 2, 'b0'],
    ['removes none while another is not ready', [pod('a', 9, unready), drains('b', 0, 10, empty)], 1, 2, ''],
    ['removes one that is unready itself', [pod('a', 9), drains('b', 0, 10, { ...empty, ...unready })], 1, 1, ''],
    [
      'gives up the place of one whose time is over for one that finds no node',
      [pod('a', undefined, pending), drains('b', 0, 75, empty)],
      1,
      1,
      '',
    ],
    ['holds while pods are being removed', [pod('a', 9), drains('b', 0, 10, empty)], 1, 1, '', { replicas: 1 }],
    ['takes drains back, the fullest first', [pod('a', 9), drains('b', 1), drains('c', 7)], 2, 3, '+c c?'],
    ['takes all back and adds the rest', [pod('a', 9), drains('b', 1, 10, empty), drains('c', 7)], 5, 5, '+b b? +c c?'],
    [
      'lets a new gateway drain that came in the place of one that died draining',
      [pod('a', 9), pod('b', 7), pod('c', 0)],
      2,
      3,
      '-c c!',
    ],
    ['puts a pod back into the Service that is out for no reason', [pod('a', 9, { isServing: false })], 1, 1, '+a'],
    ['is left while the Deployment is not settled', [pod('a', 9), pod('b', 1)], 1, 2, '', { isSettled: false }],
  ];
  for (const [what, pods, want, replicas, expected, gateways] of cases)
    it(what, () => {
      const found = decide(pods, want, gateways);
      assert.equal(found.replicas, replicas);
      assert.equal(told(pods, found), expected);
    });

  it("takes its own deletion cost back with a drain, and leaves another's", () => {
    const pods = [drains('a', 9), drains('b', 9, 10, empty), pod('c', 9, { deletionCost: 7, isServing: false })];
    const { changes } = decide(pods, 3);
    assert.deepEqual(
      pods.map(({ uid }) => changes.get(uid)?.deletionCost),
      [undefined, undefined, 7],
    );
    assert.equal(changes.size, 3);
  });

  it('says what it waits for', () => {
    const waits = (pods: GatewayPod[], want: number) => decide(pods, want).waits;
    assert.equal(waits([pod('a', 9), pod('b', 1, unready)], 1), 'b is not ready and would be deleted first');
    assert.match(
      waits([pod('a', 9), pod('b', undefined, { isAsked: false })], 1) ?? '',
      /not all gateways have reported/,
    );
    assert.equal(decide([pod('a', 9), pod('b', 1)], 1, { isSeen: false }).waits, UNSEEN);
    assert.equal(decide([pod('a', 9), pod('b', 1)], 1, { isAskedAnew: false }).asks, true);
    const many = [pod('a', 9, unready), pod('b', 1, unready), pod('c', 1, unready), pod('d', 1)];
    assert.equal(waits(many, 1), 'a, b and 1 more are not ready and would be deleted first');
  });

  it('tells each step once', () => {
    const steps = (pods: GatewayPod[], want: number) =>
      decide(pods, want).steps.map((step) =>
        'pods' in step ? `${step.type} ${step.pods.map(({ name }) => name)}` : step.type,
      );
    assert.deepEqual(steps([pod('a', 9), pod('b', 1)], 1), ['drain b']);
    assert.deepEqual(steps([pod('a', 9), drains('b', 1)], 1), []);
    assert.deepEqual(steps([pod('a', 9), drains('b', 0)], 1), []);
    assert.deepEqual(steps([pod('a', 9), drains('b', 0, 10, empty)], 1), ['remove b']);
    assert.deepEqual(steps([pod('a', 9), drains('b', 1)], 3), ['undo b', 'add']);
  });
});

describe('a rollout', () => {
  it('takes old gateways out of the Service when a new one is ready, and lets them end only then', () => {
    const pods = [pod('a', 9, old), pod('b', 9, old), pod('c', 9, old), pod('d', 0, unready)];
    const found = decide(pods, 3, { replicas: 3 });
    assert.equal(found.phase, 'rollout');
    assert.equal(told(pods, found), '');
    assert.equal(found.releasesOld, false);
    const later = [...pods.slice(0, 3), pod('d', 0)];
    const next = decide(later, 3, { replicas: 3 });
    assert.equal(told(later, next), '-a -b -c');
    assert.equal(next.releasesOld, false, 'they are yet to go');
    const out = { ...old, isServing: false };
    const last = [pod('a', 9, out), pod('b', 9, out), pod('c', 9, out), pod('d', 0)];
    assert.equal(told(last, decide(last, 3, { replicas: 3 })), '');
    assert.equal(decide(last, 3, { replicas: 3 }).releasesOld, true);
    const made = [...last, pod('e', undefined, { ...pending, ...old })];
    assert.equal(
      told(made, decide(made, 3, { replicas: 3 })),
      '-e',
      'one of the former version that was made meanwhile',
    );
    assert.equal(decide(made, 3, { replicas: 3 }).releasesOld, true);
  });

  it('lets no more old gateways end than may be terminating, of those that end at a time', () => {
    const out = { ...old, isServing: false };
    const pods = [...Array.from({ length: 8 }, (_, i) => pod(`o${i}`, 9, out)), pod('n0', 0), pod('n1', 0)];
    const plan = (terminating: number, maxTerminating?: number) => {
      const found = decide(pods, wanted(8, { maxTerminating }), { replicas: 8, terminating });
      return [found.releasesOld, found.holdsOld, found.waits];
    };
    assert.deepEqual(plan(99), [true, false, undefined], 'without a limit');
    assert.deepEqual(plan(3, 5), [true, false, undefined]);
    const waits = (terminating: string) => `${terminating}, and gateway.rollout.maxTerminating is 5`;
    assert.deepEqual(plan(4, 5), [false, true, waits('4 gateways are terminating')]);
    // Those that are ready for less time would end their old ones later, when others are terminating.
    const young = [...pods, pod('n2', 0, { readySince: NOW - 18_000 })];
    const soon = decide(young, wanted(8, { maxTerminating: 5 }), { replicas: 8 });
    assert.deepEqual([soon.releasesOld, soon.againIn], [false, 3_000]);
    assert.equal(decide(young, wanted(8), { replicas: 8 }).releasesOld, true);
    // Two would end at once; with a limit of one, the Deployment adds and ends one at a time.
    assert.deepEqual(plan(0, 1), [true, false, undefined]);
    assert.deepEqual(plan(1, 1)[0], false);
  });

  it('has no more that are terminating than may be, in steps of the Deployment', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 40 }), (replicas, maxTerminating) => {
        const surge = surgeOf(replicas, maxTerminating);
        assert.ok(surge >= 1 && surge <= maxTerminating && surge <= Math.ceil(replicas / 4));
        for (let terminating = 0; terminating <= 2 * maxTerminating; terminating++) {
          const pods = [pod('old', 9, { ...old, isServing: false }), ...many(replicas, 'new')];
          const { releasesOld } = decide(pods, wanted(replicas, { maxTerminating }), { replicas, terminating });
          assert.equal(releasesOld, terminating + surge <= maxTerminating);
        }
      }),
    );
  });

  it('lets all serve again where it is taken back', () => {
    const out = { isServing: false };
    const pods = [pod('a', 9, out), pod('b', 9, out), pod('c', 3, old), pod('d', 3, old)];
    const found = decide(pods, 2, { replicas: 2 });
    assert.equal(told(pods, found), '+a +b');
    const later = [pod('a', 9), pod('b', 9), pod('c', 3, old), pod('d', 3, old)];
    assert.equal(told(later, decide(later, 2, { replicas: 2 })), '-c -d');
  });

  it('puts off a scale-down, and lets drains be taken back and gateways be added', () => {
    const pods = [pod('a', 9, old), pod('b', 2, old), pod('c', 0, unready)];
    assert.equal(decide(pods, 1, { replicas: 2 }).replicas, 2);
    assert.equal(told(pods, decide(pods, 1, { replicas: 2 })), '');
    const draining = [pod('a', 9, old), drains('b', 2, 10, old), pod('c', 0, unready)];
    const found = decide(draining, 3, { replicas: 2 });
    assert.equal(found.replicas, 3);
    assert.equal(told(draining, found), '+b b?');
  });
});

describe('gateways that are fuller than others', () => {
  const want = wanted(4, { rebalance: { threshold: 1.2, minimum: 50 } });
  it('are not chosen while they are, at most half of all', () => {
    const pods = [pod('a', 2_000), pod('b', 2_000), pod('c', 10), pod('d', 0)];
    const found = decide(pods, want);
    assert.equal(found.phase, 'rebalancing');
    assert.equal(told(pods, found), '-a -b');
    const three = [pod('a', 900), pod('b', 800), pod('c', 0)];
    assert.equal(told(three, decide(three, wanted(3, { rebalance: { threshold: 1.2, minimum: 50 } }))), '-a');
  });

  it('are chosen where they say that they are not: counts of different moments prove nothing', () => {
    const isFuller = false;
    const pods = [pod('a', 2_000, { isFuller }), pod('b', 500), pod('c', 10), pod('d', 0)];
    assert.equal(told(pods, decide(pods, want)), '');
    const sure = [pod('a', 2_000, { isFuller: true }), ...pods.slice(1)];
    assert.equal(told(sure, decide(sure, want)), '-a');
    const out = [pod('a', 2_000, { isFuller, isServing: false }), ...pods.slice(1)];
    assert.equal(told(out, decide(out, want)), '', 'and not back before they are below');
  });

  it('come back when they are well below what they had too much', () => {
    const out = { isServing: false };
    const at = (count: number) => [pod('a', count, out), pod('b', 1_000), pod('c', 1_000), pod('d', 1_000)];
    assert.equal(told(at(1_150), decide(at(1_150), want)), '');
    assert.equal(told(at(1_120), decide(at(1_120), want)), '+a');
  });

  const out = { isServing: false };
  const silentSince = (ms: number) => ({ unknownSince: NOW - ms, isSilent: true });

  it('stay out while it is not known how full another is, for two minutes', () => {
    const at = (ms: number) => [
      pod('a', 2_000, out),
      pod('b', 300),
      pod('c', 200),
      pod('d', undefined, silentSince(ms)),
    ];
    const found = decide(at(20_000), want);
    assert.equal(told(at(20_000), found), '');
    assert.equal(found.phase, 'rebalancing');
    assert.equal(found.againIn, HOLD_MS - 20_000);
    assert.equal(told(at(HOLD_MS), decide(at(HOLD_MS), want)), '+a');
    assert.equal(decide(at(HOLD_MS), want).againIn, undefined);
  });

  it('stay out while others are added, and not while too few others can take what comes', () => {
    const full = [pod('a', 2_000, out), pod('b', 1_900, out), pod('c', 10), pod('d', 0)];
    assert.equal(told(full, decide(full, wanted(5, { rebalance: want.rebalance }))), '');
    assert.equal(told(full, decide(full, wanted(5, { rebalance: want.rebalance }), { replicas: 5 })), '');
    const starting = [...full, pod('e', undefined, pending)];
    assert.equal(told(starting, decide(starting, wanted(5, { rebalance: want.rebalance }))), '');
    const lost = [...full.slice(0, 3), pod('d', undefined, unready)];
    assert.equal(told(lost, decide(lost, want)), '+a +b');
  });

  it('are chosen where few are connected, a gateway is silent or not ready, or it is not asked for', () => {
    const few = [pod('a', 40), pod('b', 0)];
    assert.equal(told(few, decide(few, wanted(2, { rebalance: { threshold: 1.2, minimum: 50 } }))), '');
    const silent = [pod('a', 2_000), pod('b', undefined)];
    assert.equal(told(silent, decide(silent, wanted(2, { rebalance: { threshold: 1.2, minimum: 50 } }))), '');
    const starting = [pod('a', 2_000), pod('b', 0, unready)];
    assert.equal(told(starting, decide(starting, wanted(2, { rebalance: { threshold: 1.2, minimum: 50 } }))), '');
    const pods = [pod('a', 2_000, { isServing: false }), pod('b', 0)];
    assert.equal(told(pods, decide(pods, 2)), '+a');
  });
});

describe('gateways, stepped', () => {
  type Event =
    | { type: 'scale'; to: number }
    | { type: 'die'; which: number }
    | { type: 'blind'; steps: number }
    | { type: 'roll' }
    | { type: 'pass' };
  const event = fc.oneof(
    { weight: 2, arbitrary: fc.nat(6).map((to): Event => ({ type: 'scale', to })) },
    { weight: 1, arbitrary: fc.nat(9).map((which): Event => ({ type: 'die', which })) },
    { weight: 1, arbitrary: fc.nat(20).map((steps): Event => ({ type: 'blind', steps })) },
    { weight: 1, arbitrary: fc.constant<Event>({ type: 'roll' }) },
    { weight: 6, arbitrary: fc.constant<Event>({ type: 'pass' }) },
  );

  it('are never fewer serving than wanted, go only when they are empty, and become as many as wanted', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), fc.boolean(), (events, isSlow) => {
        const world = new World(isSlow);
        for (const each of events) {
          if (each.type === 'scale') world.wanted = each.to;
          if (each.type === 'die') world.die(each.which);
          if (each.type === 'blind') world.blindFor = each.steps;
          if (each.type === 'roll') world.template++;
          world.step();
        }
        for (let left = 300; left > 0 && !world.isDone; left--) world.step();
        assert.ok(world.isDone, JSON.stringify({ wanted: world.wanted, replicas: world.replicas, pods: world.pods }));
      }),
      { numRuns: 300 },
    );
  });

  type WorldPod = GatewayPod & { template: number; age: number };
  /** What a ReplicaSet tells of its pods. */
  const counts = (pods: readonly WorldPod[]) => [
    pods.length,
    pods.filter(({ isReady }) => isReady).length,
    pods.filter(({ isServing }) => isServing).length,
  ];

  /** Pods as a Deployment's controller moves them, connections as clients do; a step is a second or so. */
  class World {
    wanted = 3;
    replicas: number | undefined;
    template = 1;
    pods: WorldPod[] = [];
    /** For so many steps the controller sees no change of any pod but those that it makes itself. */
    blindFor = 0;
    /** The controller's own copy. */
    #seen: WorldPod[] = [];
    #now = NOW;
    #made = 0;
    readonly #isSlow: boolean;

    constructor(isSlow: boolean) {
      this.#isSlow = isSlow;
    }

    get isDone(): boolean {
      const isAsWanted = (each: World['pods'][number]) =>
        each.isReady && each.isServing && each.template === this.template && each.drainSince === undefined;
      return this.pods.length === this.wanted && this.replicas === this.wanted && this.pods.every(isAsWanted);
    }

    die(which: number): void {
      this.pods.splice(which % Math.max(1, this.pods.length), 1);
    }

    step(): void {
      this.#now += 1_000;
      this.#operate();
      if (this.blindFor > 0) this.blindFor--;
      else this.#seen = this.pods.map((each) => ({ ...each }));
      this.#control();
      for (const each of this.pods) {
        each.age++;
        each.isCurrent = each.template === this.template;
        if (each.age === 1) each.state = 'running';
        if (each.age >= 3)
          Object.assign(each, { isReady: true, isAsked: true, readySince: each.readySince ?? this.#now });
        const was = each.counted?.connections ?? 0;
        const isPushed = each.drainSince !== undefined && this.#now - each.drainSince > (this.#isSlow ? 90_000 : 2_000);
        const come = each.isReady && each.isServing ? 3 : 0;
        each.counted = each.isAsked
          ? { connections: isPushed ? Math.max(0, was - 20) : was + come, at: this.#now }
          : undefined;
        each.unknownSince = each.isReady && each.counted ? undefined : this.#now - 1_000 * each.age;
      }
    }

    #operate(): void {
      for (const each of this.pods) each.isCurrent = each.template === this.template;
      const isSeen = isDeepStrictEqual(counts(this.#seen), counts(this.pods));
      const gateways = {
        pods: this.pods,
        replicas: this.replicas,
        isSettled: true,
        isSeen,
        isAskedAnew: true,
        terminating: 0,
      };
      const { replicas, changes } = scalePlan(
        gateways,
        wanted(this.wanted, { rebalance: { threshold: 1.2, minimum: 50 } }),
        this.#now,
      );
      const serving = () => this.pods.filter(({ isServing, isReady }) => isServing && isReady).length;
      const before = serving();
      const isRolling = this.pods.some(({ isCurrent }) => !isCurrent);
      const hasDrain = [...changes.values()].some(({ drainSince }) => drainSince !== undefined);
      for (const [uid, state] of changes) Object.assign(this.pods.find((each) => each.uid === uid) ?? {}, state);
      if (hasDrain) assert.ok(serving() >= Math.min(before, this.wanted), 'a drain leaves fewer than wanted');
      if (isRolling && before > 0 && this.wanted > 0) assert.ok(serving() > 0, 'a rollout leaves nobody');
      this.replicas = replicas;
    }

    /**
     * The Deployment's controller, by its own copy: no fewer ready pods than asked for, one more at a time; drains cost
     * the least.
     */
    #control(): void {
      const asked = this.replicas ?? 0;
      const current = () => this.#seen.filter(({ template }) => template === this.template);
      const outdated = () => this.#seen.filter(({ template }) => template !== this.template);
      if (current().length < asked && this.#seen.length < asked + 1) this.#make();
      const order = (a: GatewayPod, b: GatewayPod) =>
        Number(a.state !== 'pending') - Number(b.state !== 'pending') ||
        Number(a.isReady) - Number(b.isReady) ||
        (a.deletionCost ?? 0) - (b.deletionCost ?? 0);
      const isRolling = outdated().length > 0;
      const ready = this.#seen.filter(({ isReady }) => isReady).length;
      const [chosen] = isRolling ? outdated().sort(order) : current().sort(order);
      if (!chosen) return;
      const isToGo = isRolling ? !chosen.isReady || ready > asked : current().length > asked;
      if (!isToGo) return;
      this.#seen = this.#seen.filter((each) => each !== chosen);
      const victim = this.pods.find(({ uid }) => uid === chosen.uid);
      if (!isRolling && victim?.state === 'running' && victim.isReady) {
        const since = victim.drainSince;
        const isOver = since !== undefined && this.#now - since >= 75_000;
        assert.ok(since !== undefined, 'one that does not drain is removed');
        // Of those that drain it may take another while it doesn't see which is marked.
        assert.ok(victim.counted?.connections === 0 || isOver || this.blindFor > 0, 'one with connections is removed');
      }
      this.pods = this.pods.filter((each) => each !== victim);
    }

    #make(): void {
      const name = `p${this.#made++}`;
      const template = this.template;
      const made = { ...pod(name, undefined, pending), template, age: 0 };
      this.pods.push(made);
      this.#seen.push({ ...made });
    }
  }
});
