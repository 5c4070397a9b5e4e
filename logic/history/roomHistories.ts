import type { Position } from '@pushcluster/protocol/frames.ts';
import { fullJitter } from '@pushcluster/protocol/fullJitter.ts';
import {
  earlierThan,
  type HistoryPolicy,
  historyOf,
  policyOf,
  type RoomPolicy,
} from '@pushcluster/protocol/roomPolicies.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import { type Bus, BusUnconfirmed } from '@pushcluster/runtime/bus/bus.ts';
import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';
import {
  HistoryMissing,
  HistoryRefused,
  type HistoryStore,
  type StreamState,
} from '@pushcluster/runtime/history/historyStore.ts';
import { historyStream } from '@pushcluster/runtime/history/historyStream.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';
import type { GatewayReports } from './gatewayReports.ts';

/** Milliseconds for which the state of a stream is used again: its epoch changes only when somebody makes it anew. */
const STATE_FOR_MS = 1_000;
/** Epochs of a stream that are remembered. */
const MAX_PAST = 100;
/**
 * Milliseconds for which a server that has restarted may take a stream for the history that it was before: 4 to 10 s were
 * seen. Gateways wait for longer, so that they are told of one other history where it is an old copy.
 */
const LATE_MS = 12_000;
const NONE: ReadonlyMap<string, number> = new Map();
/** Milliseconds between attempts to make a stream: the first limit, and the largest. */
const [RETRY_FIRST_MS, RETRY_LONGEST_MS] = [500, 15_000];

export type RoomHistoriesOptions = {
  store: HistoryStore;
  bus: Pick<Bus, 'onEvent'>;
  settings: () => Pick<Settings, 'rooms' | 'history' | 'bus'>;
  log: Pick<Logger, 'error' | 'info'>;
  /** How far gateways have followed the streams. Default: nobody says so. */
  reports?: Pick<GatewayReports, 'arriving' | 'reached' | 'connected'>;
  clock?: Clock;
};

/** Numbers that a stream gave, as far as they are known. */
export type Given = {
  /** The largest that this process has heard of, in the last epoch that it knows. */
  top: Position;
  /** Those that gateways have seen, by epoch. */
  reached: ReadonlyMap<string, number>;
};

/** How a push was sent that was stored. */
export type Sent = {
  /** What was given before. */
  before: Given;
  /** The same at the first attempt; undefined if there may have been earlier ones, of others. */
  first?: Given | undefined;
  /** An earlier attempt has stored it. */
  isDuplicate: boolean;
};

/** Which rooms have a history, and the streams that hold it: made at the start, and brought to changed settings. */
export class RoomHistories {
  readonly #options: RoomHistoriesOptions;
  readonly #clock: Clock;
  readonly #stopListening: () => void;
  #policies: readonly RoomPolicy[] = [];
  readonly #made = new Set<string>();
  /** What the store said last of streams that it refused to make or to change, by policy. */
  readonly #refusals = new Map<string, HistoryRefused>();
  /** `match` of policies that have gone, or came back since, whose streams were not told. */
  readonly #leaving = new Set<string>();
  /** When the streams were made again last, by policy. */
  readonly #restored = new Map<string, number>();
  readonly #tops = new Map<string, Position>();
  /** Epochs that the streams had before, by policy. If one comes back, an old copy was put in place of the stream. */
  readonly #past = new Map<string, Set<string>>();
  /** Since when such an epoch has come back, by policy and the clock's `now`. */
  readonly #backAt = new Map<string, number>();
  readonly #states = new Map<string, { at: number; state: Promise<StreamState> }>();
  #cancelRetry = () => {};
  #attempt = 0;
  /** The run that brings the streams to the settings; it never rejects. */
  #ensuring: Promise<void> | undefined;
  /** The settings have changed, or the bus came back, during the run. */
  #again = false;
  #problem: string | undefined;
  #closed = false;

  constructor(options: RoomHistoriesOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#stopListening = options.bus.onEvent(({ type }) => {
      // Another server may have lost what the former one had.
      this.#states.clear();
      if (type !== 'connected') return;
      this.configure();
      options.reports?.connected();
    });
    this.configure();
  }

  /** Call when the settings have changed. */
  configure(): void {
    const { rooms } = this.#options.settings();
    const before = this.matches;
    this.#policies = rooms.some(({ history }) => history !== undefined) ? rooms : [];
    const { matches } = this;
    for (const match of before) if (!matches.includes(match)) this.#leaving.add(match);
    this.#refusals.clear();
    this.#made.clear();
    this.#attempt = 0;
    this.#ensureAll();
  }

  /** Why a stream cannot be made or changed, though it was tried several times; undefined if all of them are as wanted. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** `match` of the policies that have a history. */
  get matches(): string[] {
    return this.#policies.filter(historyOf).map(({ match }) => match);
  }

  /** The history of a room; undefined if it has none. */
  policyOf(room: string): HistoryPolicy | undefined {
    if (this.#policies.length === 0) return undefined;
    const policy = policyOf(room, this.#policies);
    return policy && historyOf(policy);
  }

  /** The state of the stream of a policy, at most a second old. Rejects as the store does. */
  state(match: string): Promise<StreamState> {
    const now = this.#clock.now();
    const kept = this.#states.get(match);
    if (kept && now - kept.at < STATE_FOR_MS) return kept.state;
    const state = this.#options.store.state(match);
    this.#states.set(match, { at: now, state });
    state.catch(() => {
      if (this.#states.get(match)?.state === state) this.#states.delete(match);
    });
    return state;
  }

  /** The numbers that the stream of a policy has given until now. Rejects as the store does. */
  async given(match: string): Promise<Given> {
    const { reports } = this.#options;
    // A stream that lacks pushes of its rooms becomes another history first.
    if (!this.#made.has(match)) await this.#ensuring;
    while (reports?.arriving) await reports.arriving;
    let top = this.#tops.get(match);
    if (top === undefined) {
      const { last: seq, epoch } = await this.state(match);
      top = this.#tops.get(match) ?? { seq, epoch };
      this.#tops.set(match, top);
    }
    return { top, reached: reports?.reached ?? NONE };
  }

  /**
   * A push was stored here. A number that is not above those before it was given again: the stream was set back, and becomes
   * another history, so that nobody takes its pushes for those that had these numbers.
   *
   * @param isIn whether the stream has the push at this number
   * @returns where it is; undefined if the history that stored it has gone since, and the push with it
   */
  async stored(
    match: string,
    { seq, epoch }: Position,
    { before, first, isDuplicate }: Sent,
    isIn: () => Promise<boolean>,
  ): Promise<Position | undefined> {
    const { store, log } = this.#options;
    const hasComeBack = this.#past.get(match)?.has(epoch) ?? false;
    if (hasComeBack && this.#mayBeLate(match, seq)) throw notRenewed(match);
    const largest = largestOf(before, epoch);
    const isSameEpoch = before.top.epoch === epoch;
    if (!hasComeBack && isSameEpoch && seq > largest) return this.#reach(match, { seq, epoch });
    let state = await store.state(match);
    // An earlier attempt has stored it, perhaps before `before`: only if the stream lacks what it had, it was set back.
    const isLater = first === undefined || seq > largestOf(first, epoch);
    const isKnown = isDuplicate && isLater && state.last >= largest;
    const isSetBack = hasComeBack || (seq <= largest && !isKnown);
    if (isSetBack && state.epoch === epoch) {
      log.error({ match, seq, before: largest }, 'the history of rooms was set back: it becomes another one');
      await store.renew(match, epoch, hasComeBack ? this.#tops.get(match)!.epoch : epoch);
      state = await store.state(match);
      if (state.epoch === epoch) throw notRenewed(match);
    }
    this.#states.delete(match);
    // An earlier attempt has stored it in this history, of which limits may have removed it since.
    const isRepeat = !isSetBack && isSameEpoch && state.epoch === epoch;
    if (isRepeat) return this.#reach(match, { seq, epoch: state.epoch });
    // Another stream may have taken the place of the one that has stored it.
    if (!(await isIn())) return undefined;
    // Another one may have taken its place meanwhile: who came later to know of it must not take that for an old copy.
    const present = await store.state(match);
    if (present.epoch !== state.epoch)
      return this.stored(match, { seq, epoch: present.epoch }, { before, first, isDuplicate }, isIn);
    return this.#reach(match, { seq, epoch: state.epoch });
  }

  /**
   * Whether a stream with an epoch that it had before may have this one still: its pushes go on where they were, and the
   * server that leads it has restarted and learns in some seconds that it was made another history.
   */
  #mayBeLate(match: string, seq: number): boolean {
    const top = this.#tops.get(match);
    if (top === undefined || seq <= top.seq) return false;
    const now = this.#clock.now();
    const since = this.#backAt.get(match) ?? now;
    this.#backAt.set(match, since);
    return now - since < LATE_MS;
  }

  #reach(match: string, position: Position): Position {
    const { seq, epoch } = position;
    const top = this.#tops.get(match);
    this.#backAt.delete(match);
    if (top?.epoch !== epoch || seq > top.seq) this.#tops.set(match, position);
    if (top === undefined || top.epoch === epoch) return position;
    const past = this.#past.get(match) ?? new Set();
    this.#past.set(match, past.add(top.epoch));
    const [oldest] = past;
    if (past.size > MAX_PAST) past.delete(oldest!);
    return position;
  }

  /** Makes the stream of a policy again if it is gone: once a second at most, however many pushes fail. */
  restoreSoon(policy: HistoryPolicy): void {
    const now = this.#clock.now();
    if (now - (this.#restored.get(policy.match) ?? Number.NEGATIVE_INFINITY) < STATE_FOR_MS) return;
    this.#restored.set(policy.match, now);
    this.restore(policy).catch((error: unknown) => {
      if (error instanceof HistoryRefused)
        this.#options.log.error({ err: error, match: policy.match }, 'the history of rooms cannot be set up');
    });
  }

  /** Makes the stream of a policy, or changes its limits. Rejects as the store does. */
  async restore({ match, messages, maxAge, replicas }: HistoryPolicy): Promise<void> {
    const { store, settings } = this.#options;
    const { storage } = settings().history;
    try {
      await store.ensure({ match, messages, maxAge, replicas, storage, earlier: earlierThan(match, this.#policies) });
    } catch (error) {
      if (error instanceof HistoryRefused) this.#refusals.set(match, error);
      throw error;
    }
    this.#refusals.delete(match);
    this.#states.delete(match);
  }

  /** Why the store refused to make the stream of a policy, or to change it, when it was asked last. */
  refusal(match: string): HistoryRefused | undefined {
    return this.#refusals.get(match);
  }

  close(): void {
    this.#closed = true;
    this.#cancelRetry();
    this.#stopListening();
    this.#options.store.close();
  }

  /** One run at a time: what is done for earlier settings must not come after what is done for later ones. */
  #ensureAll() {
    this.#again = this.#ensuring !== undefined;
    this.#ensuring ??= this.#ensureUntilDone();
  }

  async #ensureUntilDone(): Promise<void> {
    this.#cancelRetry();
    const { failure, match } = await this.#ensureEach();
    if (this.#again) {
      this.#again = false;
      this.#made.clear();
      return this.#ensureUntilDone();
    }
    this.#ensuring = undefined;
    if (failure === undefined) {
      this.#problem = undefined;
      return;
    }
    const isFinal = failure instanceof HistoryRefused;
    if (isFinal || this.#attempt === 3)
      this.#options.log.error({ err: failure, match }, 'the history of rooms cannot be set up');
    if (isFinal || this.#attempt >= 3)
      this.#problem = `rooms "${match}": ${failure instanceof Error ? failure.message : failure}`;
    this.#retry();
  }

  /**
   * Goes on where a policy fails: others have nothing to do with it. @returns what failed first, and the policy that it was about
   */
  async #ensureEach(): Promise<{ failure?: unknown; match?: string }> {
    let failed: { failure?: unknown; match?: string } = {};
    const done = async (match: string, change: () => Promise<void>) => {
      // The settings have changed: they are what counts.
      if (this.#again) return false;
      try {
        await change();
        return true;
      } catch (failure) {
        if (failed.match === undefined) failed = { failure, match };
        return false;
      }
    };
    for (const match of this.#leaving) if (await done(match, () => this.#retire(match))) this.#leaving.delete(match);
    for (const policy of this.#policies) {
      const { match } = policy;
      const history = historyOf(policy);
      // A stream that was not told that it lacks pushes would go on as the history that it was.
      if (!history || this.#made.has(match) || this.#leaving.has(match)) continue;
      if (!(await done(match, () => this.restore(history)))) continue;
      this.#made.add(match);
      const { name: stream } = historyStream(this.#options.settings().bus.prefix, match);
      this.#options.log.info({ match, stream }, 'the history of rooms is set up');
    }
    return failed;
  }

  async #retire(match: string): Promise<void> {
    try {
      await this.#options.store.retire(match);
    } catch (error) {
      if (!(error instanceof HistoryMissing)) throw error;
    }
  }

  #retry() {
    if (this.#closed) return;
    this.#cancelRetry();
    const wait = fullJitter(this.#attempt++, RETRY_FIRST_MS, RETRY_LONGEST_MS);
    this.#cancelRetry = this.#clock.after(wait, () => this.#ensureAll());
  }
}

/** The largest number that was given in this epoch; 0 if none is known. */
function largestOf({ top, reached }: Given, epoch: string): number {
  return Math.max(top.epoch === epoch ? top.seq : 0, reached.get(epoch) ?? 0);
}

/** The server that answered has yet to learn that the stream became another history. */
function notRenewed(match: string): BusUnconfirmed {
  return new BusUnconfirmed(`the history of rooms "${match}" is as it was before it became another one`);
}
