/**
 * The first subprotocol offered that is served; undefined if none is.
 * @param offered value of Sec-WebSocket-Protocol: names separated by commas
 */
export function chooseSubprotocol(offered: string, served: readonly string[]): string | undefined {
  return offered
    .split(',')
    .map((name) => name.trim())
    .find((name) => served.includes(name));
}
