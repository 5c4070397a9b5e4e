/** Shares `count` among parts in proportion to their sizes; the sum is exact. */
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
