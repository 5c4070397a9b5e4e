/** The field `to` of a v1 push. */
export type Target =
  | { all: true }
  | { room: string }
  | { rooms: readonly string[] }
  | { user: string }
  | { users: readonly string[] };

/**
 * Logic's answer to a push: HTTP status, the problem's code if the push was refused, and the duration in milliseconds.
 */
export type PushAnswer = { status: number; code: string | undefined; ms: number; body: unknown };

/** The API through which a writer pushes. */
export type Pushes = { push(to: Target, items: readonly string[]): Promise<PushAnswer> };
