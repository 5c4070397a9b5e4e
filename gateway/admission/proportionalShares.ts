/**
 * Shares `count` among parts in proportion to their sizes. The shares are integers whose sum is `count`: each is rounded so
 * that the sum of all shares up to it is as close as possible to its exact value.
 * Example: 10 among three parts of size 1 is [3, 4, 3].
 * @param count an integer, 0 or more
 * @param sizes 0 or more; if all are 0, so are the shares
 */
export function proportionalShares(count: number, sizes: readonly number[]): number[] {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  if (total === 0) return sizes.map(() => 0);
  let given = 0;
  let seen = 0;
  return sizes.map((size) => {
    seen += size;
    const upTo = Math.round((count * seen) / total);
    const part = upTo - given;
    given = upTo;
    return part;
  });
}
