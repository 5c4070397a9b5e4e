/** The limit of connections per client address (`connections.perIp`), counted over all shards. Each address with a connection takes memory. */
export class AddressLimit {
  /** Connections by address, of each shard: those of a shard that died are forgotten at once, however many they are. */
  readonly #shards: Map<string, number>[] = [];

  /** Counts one more connection of `address` on a shard; false if there are `limit` already. */
  admit(shard: number, address: string, limit: number): boolean {
    const held = this.#shards.reduce((sum, counts) => sum + (counts.get(address) ?? 0), 0);
    if (held >= limit) return false;
    const counts = this.#countsOf(shard);
    counts.set(address, (counts.get(address) ?? 0) + 1);
    return true;
  }

  /** A connection that was admitted is gone. */
  release(shard: number, address: string): void {
    const counts = this.#countsOf(shard);
    const left = (counts.get(address) ?? 0) - 1;
    if (left > 0) counts.set(address, left);
    else counts.delete(address);
  }

  /** The shard's process is gone, and its connections with it. */
  forget(shard: number): void {
    this.#shards[shard] = new Map();
  }

  #countsOf(shard: number): Map<string, number> {
    this.#shards[shard] ??= new Map();
    return this.#shards[shard];
  }
}
