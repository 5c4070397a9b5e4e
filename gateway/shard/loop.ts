import type { Clock } from '@pushcluster/runtime/clock.ts';

/** The event loop and its time as an argument of a shard's rules: tests decide on both. */
export type Loop = Pick<Clock, 'now' | 'after' | 'soon'>;
