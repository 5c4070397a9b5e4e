/** The limit of connections per client address (`connections.perIp`), counted over all shards. Each address with a connection takes memory. */
export class AddressLimit {
  readonly #counts = new Map<string, number[]>();

  /** Counts one more connection of `address` on a shard; false if there are `limit` already. */
  admit(shard: number, address: string, limit: number): boolean {
    const shards = this.#counts.get(address) ?? [];
    const held = shards.reduce((sum, count) => sum + (count ?? 0), 0);
    if (held >= limit) return false;
    shards[shard] = (shards[shard] ?? 0) + 1;
    this.#counts.set(address, shards);
    return true;
  }

  /** A connection that was admitted is gone. */
  release(shard: number, address: string): void {
    const shards = this.#counts.get(address);
    if (!shards) return;
    shards[shard] = Math.max(0, (shards[shard] ?? 0) - 1);
    if (shards.every((count) => !count)) this.#counts.delete(address);
  }

  /** The shard's process is gone, and its connections with it. */
  forget(shard: number): void {
    for (const [address, shards] of this.#counts) {
      shards[shard] = 0;
      if (shards.every((count) => !count)) this.#counts.delete(address);
    }
  }
}
