/** Where a push goes, as one string between hub and shards: `a` for all, `r` + room, `u` + user. */
export type ChannelKey = string & { readonly channel: unique symbol };

export const ALL = 'a' as ChannelKey;

export function roomKey(room: string): ChannelKey {
  return `r${room}` as ChannelKey;
}

export function userKey(user: string): ChannelKey {
  return `u${user}` as ChannelKey;
}

/** The room of a key; undefined for all and for users. */
export function roomOf(key: ChannelKey): string | undefined {
  return key[0] === 'r' ? key.slice(1) : undefined;
}

export function isRoom(key: ChannelKey): boolean {
  return key[0] === 'r';
}

export function isUser(key: ChannelKey): boolean {
  return key[0] === 'u';
}

/** The user of a key that is one's. */
export function userOf(key: ChannelKey): string {
  return key.slice(1);
}
