import type { Position } from '@pushcluster/protocol/frames.ts';
import { fullJitter } from '@pushcluster/protocol/fullJitter.ts';
import { type HistoryPolicy, historyOf, policyOf, type RoomPolicy } from '@pushcluster/protocol/roomPolicies.ts';
import type { Settings } from '@pushcluster/protocol/settings.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import { type Clock, systemClock } from '@pushcluster/runtime/clock.ts';
import { HistoryRefused, type HistoryStore, type StreamState } from '@pushcluster/runtime/history/historyStore.ts';
import { historyStream } from '@pushcluster/runtime/history/historyStream.ts';
import type { Logger } from '@pushcluster/runtime/log.ts';

/** Milliseconds for which the state of a stream is used again: its epoch changes only when somebody makes it anew. */
const STATE_FOR_MS = 1_000;
/** Epochs of a stream that are remembered. */
const MAX_PAST = 100;
/** Milliseconds between attempts to make a stream: the first limit, and the largest. */
const [RETRY_FIRST_MS, RETRY_LONGEST_MS] = [500, 15_000];

export type RoomHistoriesOptions = {
  store: HistoryStore;
  bus: Pick<Bus, 'onEvent'>;
  settings: () => Pick<Settings, 'rooms' | 'history' | 'bus'>;
  log: Pick<Logger, 'error' | 'info'>;
  clock?: Clock;
};

/** Which rooms have a history, and the streams that hold it: made at the start, and brought to changed settings. */
export class RoomHistories {
  readonly #options: RoomHistoriesOptions;
  readonly #clock: Clock;
  readonly #stopListening: () => void;
  #policies: readonly RoomPolicy[] = [];
  readonly #made = new Set<string>();
  /** When the streams were made again last, by policy. */
  readonly #restored = new Map<string, number>();
  readonly #tops = new Map<string, Position>();
  /** Epochs that the streams had before, by policy. If one comes back, an old copy was put in place of the stream. */
  readonly #past = new Map<string, Set<string>>();
  readonly #states = new Map<string, { at: number; state: Promise<StreamState> }>();
  #cancelRetry = () => {};
  #attempt = 0;
  #problem: string | undefined;
  #closed = false;

  constructor(options: RoomHistoriesOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#stopListening = options.bus.onEvent(({ type }) => {
      // Another server may have lost what the former one had.
      this.#states.clear();
      if (type === 'connected') this.configure();
    });
    this.configure();
  }

  /** Call when the settings have changed. */
  configure(): void {
    const { rooms } = this.#options.settings();
    this.#policies = rooms.some(({ history }) => history !== undefined) ? rooms : [];
    this.#made.clear();
    this.#attempt = 0;
    void this.#ensureAll();
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

  /** The largest number in the stream of a policy that this process knows; undefined before it was asked for or stored. */
  top(match: string): Position | undefined {
    return this.#tops.get(match);
  }

  /** The same, from the store if this process knows none. Rejects as the store does. */
  async askedTop(match: string): Promise<Position> {
    const { last: seq, epoch } = await this.state(match);
    const top = this.#tops.get(match) ?? { seq, epoch };
    this.#tops.set(match, top);
    return top;
  }

  /**
   * A push was stored here. `before`: what `top` was when it was sent. A number that is not above it was given again: the
   * stream was set back, and becomes another history, so that nobody takes its pushes for those that had these numbers.
   *
   * @param isDuplicate it was stored by an earlier attempt, perhaps before `before`: only if the stream lacks what it had, it
   *   was set back
   * @param isIn whether the stream has the push at this number
   * @returns where it is; undefined if the history that stored it has gone since, and the push with it
   */
  async stored(
    match: string,
    { seq, epoch }: Position,
    before: Position,
    isDuplicate: boolean,
    isIn: () => Promise<boolean>,
  ): Promise<Position | undefined> {
    const { store, log } = this.#options;
    const hasComeBack = this.#past.get(match)?.has(epoch) ?? false;
    if (!hasComeBack && before.epoch === epoch && seq > before.seq) return this.#reach(match, { seq, epoch });
    let state = await store.state(match);
    const isSetBack = hasComeBack || (before.epoch === epoch && !(isDuplicate && state.last >= before.seq));
    if (isSetBack && state.epoch === epoch) {
      log.error({ match, seq, before: before.seq }, 'the history of rooms was set back: it becomes another one');
      await store.renew(match, epoch, this.#tops.get(match)?.epoch ?? epoch);
      state = await store.state(match);
    }
    this.#states.delete(match);
    // An earlier attempt has stored it in this history, of which limits may have removed it since.
    const isRepeat = !isSetBack && before.epoch === epoch && state.epoch === epoch;
    if (isRepeat) return this.#reach(match, { seq, epoch: state.epoch });
    // Another stream may have taken the place of the one that has stored it.
    if (!(await isIn())) return undefined;
    // Another one may have taken its place meanwhile: who came later to know of it must not take that for an old copy.
    const present = await store.state(match);
    if (present.epoch !== state.epoch)
      return this.stored(match, { seq, epoch: present.epoch }, before, isDuplicate, isIn);
    return this.#reach(match, { seq, epoch: state.epoch });
  }

  #reach(match: string, position: Position): Position {
    const { seq, epoch } = position;
    const top = this.#tops.get(match);
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
    await store.ensure({ match, messages, maxAge, replicas, storage: settings().history.storage });
    this.#states.delete(match);
  }

  close(): void {
    this.#closed = true;
    this.#cancelRetry();
    this.#stopListening();
    this.#options.store.close();
  }

  async #ensureAll() {
    this.#cancelRetry();
    const { log, settings } = this.#options;
    for (const policy of this.#policies) {
      const { match } = policy;
      const history = historyOf(policy);
      if (!history || this.#made.has(match)) continue;
      try {
        await this.restore(history);
        this.#made.add(match);
        const { name: stream } = historyStream(settings().bus.prefix, match);
        log.info({ match, stream }, 'the history of rooms is set up');
      } catch (error) {
        const isFinal = error instanceof HistoryRefused;
        if (isFinal || this.#attempt === 3) log.error({ err: error, match }, 'the history of rooms cannot be set up');
        if (isFinal || this.#attempt >= 3)
          this.#problem = `rooms "${match}": ${error instanceof Error ? error.message : error}`;
        this.#retry();
        return;
      }
    }
    this.#problem = undefined;
  }

  #retry() {
    if (this.#closed) return;
    this.#cancelRetry();
    const wait = fullJitter(this.#attempt++, RETRY_FIRST_MS, RETRY_LONGEST_MS);
    this.#cancelRetry = this.#clock.after(wait, () => void this.#ensureAll());
  }
}
