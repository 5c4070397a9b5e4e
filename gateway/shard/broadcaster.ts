import { observeLatency, type ShardCounts } from '../ipc/counts.ts';
import { monotonicMs } from '../ipc/monotonicClock.ts';
import type { Channel, Group, Member } from './channel.ts';
import { DROPPED, SENT } from './engine.ts';
import type { Job, Sending, Visit, Wave } from './job.ts';
import type { Session } from './session.ts';

/** A slice of a broadcast, milliseconds: between two slices the loop serves reads, joins and other rooms. */
const SLICE_MS = 8;
/** Sends between two looks at the clock. */
const STRIDE = 64;

/** The event loop as a shard's rules see it: tests put in their own. */
export type Loop = {
  /** Milliseconds of the machine's monotonic clock. */
  now(): number;
  /** Calls `run` in the loop's next turn. */
  soon(run: () => void): void;
  /** Calls `run` once after `ms` milliseconds; the returned function calls it off. */
  after(ms: number, run: () => void): () => void;
};

/** performance.now() is cheaper, and begins anew in each process. */
const BEGAN = monotonicMs() - performance.now();

export const systemLoop: Loop = {
  now: () => BEGAN + performance.now(),
  soon: (run) => {
    setImmediate(run);
  },
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

export type BroadcasterHooks = {
  /** `size` bytes of a frame are done with. */
  done(size: number): void;
  /** Bytes of a frame wait for the session. */
  queued(session: Session): void;
  /** The session's first drop: it is marked already. Don't close it here: the group is being walked. */
  dropped(session: Session): void;
  /** The channel has no more jobs. */
  idle(channel: Channel): void;
};

/** Does jobs for the members of their channels, sends for the most part: one at a time for a channel, in slices, channels in turn. */
export class Broadcaster {
  readonly #counts: ShardCounts;
  readonly #hooks: BroadcasterHooks;
  readonly #loop: Loop;
  #turn: Channel[] = [];
  #scheduled = false;

  constructor(counts: ShardCounts, hooks: BroadcasterHooks, loop: Loop) {
    this.#counts = counts;
    this.#hooks = hooks;
    this.#loop = loop;
  }

  push(channel: Channel, job: Job): void {
    channel.jobs.push(job);
    if (channel.jobs.length === 1 && !channel.active) this.#turn.push(channel);
    this.#schedule();
  }

  /** Calls `visit` for each of these members, after what is on its way to the channel already and before what comes later. */
  visit(channel: Channel, members: readonly Member[], visit: (member: Member) => void, done = () => {}): void {
    this.push(channel, { type: 'visit', items: 0, members, visited: 0, visit, done });
  }

  #schedule() {
    if (this.#scheduled || this.#turn.length === 0) return;
    this.#scheduled = true;
    this.#loop.soon(() => {
      this.#scheduled = false;
      this.#run(this.#loop.now() + SLICE_MS);
      this.#schedule();
    });
  }

  /** Runs until `deadline`; every channel in turn gets at least one stride. */
  #run(deadline: number) {
    const round = this.#turn;
    this.#turn = [];
    for (const [i, channel] of round.entries()) {
      const more = this.#advance(channel, deadline);
      if (more) this.#turn.push(channel);
      else this.#hooks.idle(channel);
      if (this.#loop.now() >= deadline) {
        this.#turn = round.slice(i + 1).concat(this.#turn);
        return;
      }
    }
  }

  /** Goes on with a channel's jobs; false where none is left. */
  #advance(channel: Channel, deadline: number): boolean {
    const { groups } = channel;
    for (;;) {
      const job = channel.active ?? channel.begin();
      if (!job) return false;
      if (job.type === 'visit') {
        if (!this.#visit(job, deadline)) return true;
        channel.finish();
        job.done();
        if (channel.jobs.length > 0 && this.#loop.now() >= deadline) return true;
        continue;
      }
      for (; channel.activeGroup < groups.length; channel.activeGroup++) {
        const group = groups[channel.activeGroup];
        const wave = job.waves[channel.activeGroup];
        if (!group) continue;
        if (!wave) group.cursor = group.end;
        else if (!this.#send(group, wave, job, deadline)) return true;
      }
      channel.finish();
      if (job.size > 0) this.#hooks.done(job.size);
      if (channel.jobs.length > 0 && this.#loop.now() >= deadline) return true;
    }
  }

  /** Goes on with a visit; false where the slice is over before everyone was visited. */
  #visit(job: Visit, deadline: number): boolean {
    const { members, visit } = job;
    while (job.visited < members.length) {
      const stop = Math.min(members.length, job.visited + STRIDE);
      while (job.visited < stop) visit(members[job.visited++]!);
      if (job.visited < members.length && this.#loop.now() >= deadline) return false;
    }
    return true;
  }

  /** Sends one wave on; false where the slice is over before the group is through. */
  #send(group: Group, wave: Wave, job: Sending, deadline: number): boolean {
    const { sockets } = group;
    const { bytes, binary } = wave;
    let sent = 0;
    let skipped = 0;
    let through = true;
    while (group.cursor < group.end) {
      const stop = Math.min(group.end, group.cursor + STRIDE);
      for (; group.cursor < stop; group.cursor++) {
        const socket = sockets[group.cursor];
        if (socket === undefined) {
          skipped++;
          continue;
        }
        const verdict = socket.send(bytes, binary, false);
        if (verdict === SENT) {
          sent++;
          continue;
        }
        const { session } = group.members[group.cursor]!;
        if (verdict === DROPPED) {
          skipped++;
          session.lag();
          this.#hooks.dropped(session);
        } else {
          sent++;
          this.#hooks.queued(session);
        }
      }
      if (group.cursor < group.end && this.#loop.now() >= deadline) {
        through = false;
        break;
      }
    }
    this.#count(job, bytes.length, sent, skipped);
    return through;
  }

  #count(job: Sending, bytes: number, sent: number, skipped: number) {
    const counts = this.#counts;
    counts.framesSent += sent;
    counts.bytesSent += sent * (bytes + headerBytes(bytes));
    if (job.missed) return;
    counts.messagesDelivered += sent * job.items;
    counts.dropped.slow += skipped * job.items;
    // Logic's clock is read so too: where both are set, what is counted from then on is right again.
    const now = Date.now();
    if (sent > 0) for (const [at, items] of job.ages) observeLatency(counts, (now - at) / 1_000, items * sent);
  }
}

/** Bytes of a WebSocket frame's header (RFC 6455, 5.2; a server does not mask). */
function headerBytes(payload: number): number {
  return payload < 126 ? 2 : payload < 65_536 ? 4 : 10;
}
