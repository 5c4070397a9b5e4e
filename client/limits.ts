/**
 * The SDK's numbers that options can't change. Times in milliseconds. (They are in one file without imports because
 * esbuild then writes their values where they are used.)
 */

// ── a connection ──

/**
 * A gateway allows 100 frames at once and 50 per second by default (inbound.frameRate). A client that joins many rooms has
 * to stay below, or the gateway closes it with 1008.
 */
export const FRAME_BURST = 60;
export const FRAMES_PER_SECOND = 40;
/** How long a token callback may take before a handshake. */
export const TOKEN_TIMEOUT = 60_000;
/** Shortest wait before a failed token refresh is tried again. The back-off is added. */
export const REFRESH_RETRY = 5_000;
/** Close code of a connection that was lost. */
export const LOST = 1006;
/** Close code of the client itself for a malformed frame. It is never sent. */
export const MALFORMED = 1007;
/**
 * Steps of the queue of promises that frames wait for code that awaits a room: enough for async functions in each other.
 * (Not a timer: in a hidden tab that takes a second, for each room.)
 */
export const PAUSE = 100;

// ── reconnecting and moving ──

/** Connections that may be opened at once, and per second on average, whatever options, gateways and the platform do. */
export const CONNECT_BURST = 10;
export const CONNECTS_PER_SECOND = 1;
/** After so many closes for sending too fast the client stays away: with half the rate each time, the rate is not the cause. */
export const MAX_SLOWDOWNS = 8;
/**
 * Fraction of a move's time for which the old connection is still read once the new one has joined, if the gateway does
 * not say how long (older ones): its merge window may hold items that were published before.
 */
export const OVERLAP = 0.25;
/** Clients that are told to move at the same moment spread over this time. */
export const MOVE_JITTER = 250;
/** A gateway that leaves closes its connections at the deadline; one that does not stays the client's after this time more. */
export const MOVE_PATIENCE = 60_000;
/** Items held during a move, at most; a frame without items counts as one. */
export const MAX_HELD = 10_000;

// ── streams ──

/** Publishers remembered for one stream: today's logic pods and those of recent rollouts. */
export const MAX_PUBLISHERS = 64;
/** Pushes with an `id` that are remembered for one stream, and for how long: a backend may retry them. */
export const MAX_PUSHES = 10_000;
export const PUSH_REMEMBERED = 120_000;
/** Positions are stored this long after they changed: not after each frame. */
export const SAVE_DELAY = 1_000;
/** Missed items that the queue of a `for await` holds beyond its limit. */
export const MAX_MISSED = 100_000;
/** Length of an epoch at most: a gateway closes the connection for a JOIN that is too long. */
export const MAX_EPOCH = 128;
/** Rooms that were left and whose delivered items are still remembered. */
export const MAX_PAST = 100;
