/** Members of a channel at one shard that the hub reckons with until it is told of more. */
export const FEW_MEMBERS = 4;

/** The least number of members that the hub is told of. */
const MANY_MEMBERS = 8;

/**
 * Whether a shard tells the hub how many members a channel has: whenever they are twice as many as it was told last, or
 * less than half. The hub needs no more to know the cost of a frame, and a channel of 100,000 members takes 14 messages.
 * @param told the number that was told last, 0 at first
 * @returns the number to tell, 0: few; undefined: none
 */
export function audienceToTell(members: number, told: number): number | undefined {
  if (members >= Math.max(MANY_MEMBERS, 2 * told)) return members;
  if (2 * members >= told) return undefined;
  return members < MANY_MEMBERS ? 0 : members;
}
