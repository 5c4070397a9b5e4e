import type { ChannelRules } from '@pushcluster/protocol/roomPolicies.ts';
import { MEASURED } from '../plan/constants.ts';

/**
 * CPU time that the frames of one channel may take in all processes of a gateway, in cores. With it a room of ten
 * waits some milliseconds for its next frame, one of a thousand a seventh of a second, and one of ten thousand a
 * second.
 */
export const CHANNEL_CORES = 0.04;

/** CPU time that one frame of a channel takes, microseconds. */
export type FrameCost = {
  /** In all processes of the gateway. */
  total: number;
  /** Of the core that has the most to do with it, if frames are spread over the shards. */
  busiest: number;
};

/** What runs a gateway. */
export type Machine = {
  shards: number;
  /** Cores that its processes share. */
  cores: number;
};

/** The cost of a frame, by the figures of the capacity plan. @param shards those that have a member of the channel */
export function frameCost(members: number, shards: number, machine: Machine): FrameCost {
  const hub = shards * MEASURED.hubFrameCpu.value;
  const first = MEASURED.shardFrameCpu.value - MEASURED.frameCpu.value;
  const sending = shards * first + members * MEASURED.frameCpu.value;
  const total = hub + sending;
  return { total, busiest: Math.max(hub, sending / machine.shards, total / machine.cores) };
}

/**
 * The merge window of a channel, milliseconds: as short as its share of the gateway's CPU time allows, from minDelay to
 * maxDelay. Frames that are a window apart take no more than that share.
 * @param share cores that its frames may take of the busiest core; Infinity: as many as it needs
 */
export function adaptiveWindow(
  { minDelay, maxDelay }: Pick<ChannelRules, 'minDelay' | 'maxDelay'>,
  cost: FrameCost,
  share: number,
): number {
  const affordable = Math.max(cost.total / CHANNEL_CORES, cost.busiest / share) / 1_000;
  return Math.min(maxDelay, Math.max(minDelay, affordable));
}
