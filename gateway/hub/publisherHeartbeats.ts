import { type PushHeader, processOf } from '@pushcluster/protocol/push.ts';

/**
 * Processes whose last heartbeat is kept: far more than publish at a time. Beyond it, the longest silent one is
 * forgotten.
 */
const MAX_PROCESSES = 1_024;
/** After listening for this long, milliseconds, every running process has been received: each beats once a second. */
const HEARD_ALL_MS = 2_500;

/** The number of each process's last heartbeat. */
type Beats = ReadonlyMap<string, number>;

/**
 * The heartbeats that had been received when a subscription came into force. What a process publishes after the next
 * heartbeat that it sends is received by that subscription. This rests on the order of one process's messages, and on no clock.
 */
export type Mark = {
  /** When it was made, by the clock's `now`, at the earliest. */
  at: number;
  beats: Beats;
  /**
   * Heartbeats of the processes that `beats` lacks, once all have been received. A process in neither started later, or was
   * cut off from the bus.
   */
  rest: Beats | undefined;
};

/** The last heartbeats of all publishing processes, and marks among them. */
export class PublisherHeartbeats {
  readonly #now: () => number;
  #last = new Map<string, number>();
  #shared = false;
  #listeningSince = Number.POSITIVE_INFINITY;
  #incomplete = new Set<Mark>();
  /** The last mark that lacks nothing, which many subscriptions share. */
  #complete: Mark | undefined;

  /** @param now milliseconds of a clock that never goes back */
  constructor(now: () => number) {
    this.#now = now;
  }

  receive(process: string, beat: number): void {
    this.#note(process, beat);
    if (this.#incomplete.size === 0 || !this.#isComplete) return;
    for (const mark of this.#incomplete) mark.rest = this.#share();
    this.#incomplete.clear();
  }

  #note(process: string, beat: number) {
    const last = this.#last.get(process);
    if (last !== undefined && last >= beat) return;
    if (this.#shared) this.#last = new Map(this.#last);
    this.#shared = false;
    this.#last.delete(process);
    this.#last.set(process, beat);
    if (this.#last.size > MAX_PROCESSES) this.#last.delete(this.#last.keys().next().value!);
  }

  /**
   * The bus is unavailable, or available from now on. For HEARD_ALL_MS a process may run whose heartbeat is yet to
   * come.
   */
  listening(on: boolean): void {
    this.#listeningSince = on ? this.#now() : Number.POSITIVE_INFINITY;
  }

  /** A mark for now. */
  mark(): Mark {
    const beats = this.#share();
    if (this.#isComplete) {
      if (this.#complete?.beats !== beats) this.#complete = { at: this.#now(), beats, rest: beats };
      return this.#complete;
    }
    const mark: Mark = { at: this.#now(), beats, rest: undefined };
    this.#incomplete.add(mark);
    return mark;
  }

  /**
   * The last heartbeat before `mark` of the process that has published this; 0 if all that it counts on this subject came
   * after `mark`, undefined if unknown.
   */
  beatBefore(mark: Mark, { publisher, at, begun }: Pick<PushHeader, 'publisher' | 'at' | 'begun'>): number | undefined {
    const process = processOf(publisher);
    const heard = mark.beats.get(process) ?? mark.rest?.get(process);
    if (heard !== undefined || mark.rest === undefined) return heard;
    // By one clock: for how long it has counted.
    const counts = at - begun;
    return counts >= 0 && counts <= this.#now() - mark.at ? 0 : undefined;
  }

  /** `mark` is not used any more. */
  forget(mark: Mark | undefined): void {
    if (mark) this.#incomplete.delete(mark);
  }

  get #isComplete(): boolean {
    return this.#now() - this.#listeningSince >= HEARD_ALL_MS;
  }

  #share(): Beats {
    this.#shared = true;
    return this.#last;
  }
}
