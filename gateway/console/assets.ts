/** A file of the console as it is served. */
export type Asset = { body: Buffer; type: string; headers: Record<string, string> };

/** The console's files, by path. */
export function loadConsole(_options: { pushUrl: string }): Map<string, Asset> {
  return new Map();
}
