import { processOf } from '@pushcluster/protocol/push.ts';

/** Processes whose beats are remembered; the longest silent goes. Far more than publish at a time. */
const MAX_PROCESSES = 1_024;
/** Whoever listened for so many milliseconds has heard every process that is there: it beats once a second. */
const HEARD_ALL_MS = 2_500;

/** The last beat of each process. */
type Beats = ReadonlyMap<string, number>;

/**
 * What had been heard when a subscription came into force: whatever a process published after the beat that was its
 * last by then is meant for that subscription. One process's own order tells this, and nobody's clock.
 */
export type Mark = {
  beats: Beats;
  /** Beats of those that `beats` lacks, once all have been heard: one that is not here either began later. */
  rest: Beats | undefined;
};

/** The beats of all publishers, and marks among them. */
export class Heartbeats {
  readonly #now: () => number;
  #last = new Map<string, number>();
  #shared = false;
  #listeningSince = Number.POSITIVE_INFINITY;
  #incomplete = new Set<Mark>();

  /** @param now milliseconds of a clock that never goes back */
  constructor(now: () => number) {
    this.#now = now;
  }

  heard(process: string, beat: number): void {
    this.#note(process, beat);
    if (this.#incomplete.size === 0 || !this.#complete) return;
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

  /** The bus is away, or (from now on) back: a process that is not heard may be there nevertheless, for a while. */
  listening(on: boolean): void {
    this.#listeningSince = on ? this.#now() : Number.POSITIVE_INFINITY;
  }

  /** A mark for now. */
  mark(): Mark {
    const beats = this.#share();
    if (this.#complete) return { beats, rest: beats };
    const mark: Mark = { beats, rest: undefined };
    this.#incomplete.add(mark);
    return mark;
  }

  /** `mark` is no longer asked. */
  forget(mark: Mark | undefined): void {
    if (mark) this.#incomplete.delete(mark);
  }

  get #complete(): boolean {
    return this.#now() - this.#listeningSince >= HEARD_ALL_MS;
  }

  #share(): Beats {
    this.#shared = true;
    return this.#last;
  }
}

/** The last beat before `mark` of the process that counts as `publisher`; 0 where it began later, undefined where nobody knows. */
export function beatBefore(mark: Mark, publisher: string): number | undefined {
  const process = processOf(publisher);
  return mark.beats.get(process) ?? (mark.rest === undefined ? undefined : (mark.rest.get(process) ?? 0));
}
