/** Who a connection is and what it may do, from its token or from being anonymous. */
export type Identity = {
  user?: string | undefined;
  /** Patterns of the rooms that the connection may join; undefined: any room. */
  rooms?: readonly string[] | undefined;
  /** Seconds since the epoch at which the token expires; 0: never. */
  expires: number;
  /** Set if the client showed no token and needs none. It may still send AUTH. */
  anonymous?: true;
};
