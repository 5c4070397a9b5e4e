/** Connections by client address over all shards, where `connections.perIp` is set. As large as the connections are many. */
export class Addresses {
  readonly #counts = new Map<string, number[]>();

  /** Counts one more connection of `address` on a shard, unless there are `limit` already. */
  admit(shard: number, address: string, limit: number): boolean {
    const shards = this.#counts.get(address) ?? [];
    const held = shards.reduce((sum, count) => sum + (count ?? 0), 0);
    if (held >= limit) return false;
    shards[shard] = (shards[shard] ?? 0) + 1;
    this.#counts.set(address, shards);
    return true;
  }

  release(shard: number, address: string): void {
    const shards = this.#counts.get(address);
    if (!shards) return;
    shards[shard] = Math.max(0, (shards[shard] ?? 0) - 1);
    if (shards.every((count) => !count)) this.#counts.delete(address);
  }

  /** The shard died with all its connections. */
  forget(shard: number): void {
    for (const [address, shards] of this.#counts) {
      shards[shard] = 0;
      if (shards.every((count) => !count)) this.#counts.delete(address);
    }
  }
}
