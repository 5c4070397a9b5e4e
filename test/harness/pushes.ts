/** `to` of a v1 push. */
export type Target =
  | { all: true }
  | { room: string }
  | { rooms: readonly string[] }
  | { user: string }
  | { users: readonly string[] };

/** How logic answered a push: the problem's code if it was refused, and how long the answer took. */
export type PushAnswer = { status: number; code: string | undefined; ms: number; body: unknown };

/** Where a writer pushes to. */
export type Pushes = { push(to: Target, items: readonly string[]): Promise<PushAnswer> };
