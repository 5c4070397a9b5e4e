import fc from 'fast-check';
import { holds, PLANS } from './historySchedules.ts';
import { PUBLISH_PLANS, publishes } from './publishSchedules.ts';

type Property = {
  what: string;
  check: fc.IAsyncProperty<[unknown]>;
  /** Of the schedules that are played. */
  share: number;
  /** Something is broken on purpose: schedules must be found that show it. */
  isBroken?: true;
};

/** What is played, by name. */
export const PROPERTIES = {
  whole: {
    what: 'where the history reaches back, every push comes once and in order, whatever breaks',
    check: checkOf(PLANS.whole, holds),
    share: 0.4,
  },
  replaced: {
    what: 'where it is made anew or set back, what comes between two resets is whole',
    check: checkOf(PLANS.replaced, holds),
    share: 0.2,
  },
  limited: {
    what: 'where limits remove what was missed, what comes between two resets is whole',
    check: checkOf(PLANS.limited, holds),
    share: 0.2,
  },
  published: {
    what: 'what logic says of a push is true, and pushes of one pod to a room are stored in order, whatever breaks',
    check: checkOf(PUBLISH_PLANS.faults, publishes),
    share: 0.18,
  },
  publishedAnew: {
    what: 'it is true also where the history is made anew or set back',
    check: checkOf(PUBLISH_PLANS.another, publishes),
    share: 0.02,
  },
  repair: broken('a hub that repairs nothing', PLANS.storeFaults, (plan) => holds(plan, 'repair')),
  epoch: broken('an epoch that does not change', PLANS.another, (plan) => holds(plan, 'epoch')),
  position: broken('a position that moves after the item', PLANS.clientFaults, (plan) => holds(plan, 'position')),
  deduplication: broken('a store that stores a push again', PUBLISH_PLANS.faults, (plan) =>
    publishes(plan, 'deduplication'),
  ),
} satisfies Record<string, Property>;

export type PropertyName = keyof typeof PROPERTIES;

export const isProperty = (name: string): name is PropertyName => name in PROPERTIES;

export const propertyOf = (name: PropertyName): Property => PROPERTIES[name];

function broken<Plan extends { random: number }>(
  what: string,
  plans: fc.Arbitrary<Plan>,
  holds: (plan: Plan) => Promise<void>,
): Property {
  return { what, check: checkOf(plans, holds), share: 0, isBroken: true };
}

function checkOf<Plan extends { random: number }>(
  plans: fc.Arbitrary<Plan>,
  holds: (plan: Plan) => Promise<void>,
): fc.IAsyncProperty<[unknown]> {
  return fc.asyncProperty(plans as fc.Arbitrary<unknown>, (plan) => seeded(plan as Plan, holds));
}

/** Everything random in a schedule comes from its plan. */
export async function seeded<Plan extends { random: number }>(
  plan: Plan,
  holds: (plan: Plan) => Promise<void>,
): Promise<void> {
  const { random } = Math;
  let seed = plan.random;
  Math.random = () => {
    seed = (seed * 16_807) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  try {
    await holds(plan);
  } finally {
    Math.random = random;
  }
}
