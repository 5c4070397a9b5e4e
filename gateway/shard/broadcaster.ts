import { observeLatency, type ShardCounts } from '../ipc/counts.ts';
import type { Channel } from './channel.ts';
import type { ChannelTask, FrameBytes, SendTask, VisitTask } from './channelTask.ts';
import type { Connection, Member } from './connection.ts';
import { DROPPED, SENT } from './engine.ts';
import type { Group } from './group.ts';
import type { Loop } from './loop.ts';
import { fallBehind } from './slowConsumerPolicy.ts';

/** Length of a slice of broadcasts, milliseconds. Between two slices the loop serves reads and joins. */
const SLICE_MS = 8;
/** Time of a turn of the loop in which channels that wait for no slice are sent to, milliseconds. */
const AT_ONCE_MS = 4;
/** Sends between two readings of the clock. A channel with more members waits for its slice. */
const STRIDE = 64;

export type BroadcasterHooks = {
  /** Frames of `size` bytes were sent to, or skipped for, every member. */
  done(size: number): void;
  /** Bytes of a frame wait in the connection's buffer. */
  queued(connection: Connection): void;
  /** The connection's first drop: it is behind already. Don't close it here, since the group is being walked. */
  dropped(connection: Connection): void;
  /** The channel has no task any more. */
  idle(channel: Channel<Member>): void;
};

/**
 * Carries out the tasks of channels, sends for the most part. A channel's tasks are done one after another; channels take
 * turns, in slices, so that a large room holds up neither the small ones nor the loop.
 */
export class Broadcaster {
  readonly #counts: ShardCounts;
  readonly #hooks: BroadcasterHooks;
  readonly #loop: Loop;
  #queue: Channel<Member>[] = [];
  #scheduled = false;
  /** Until when small channels are sent to at once in this turn of the loop; undefined before the first. */
  #atOnceUntil: number | undefined;

  constructor(counts: ShardCounts, hooks: BroadcasterHooks, loop: Loop) {
    this.#counts = counts;
    this.#hooks = hooks;
    this.#loop = loop;
  }

  push(channel: Channel<Member>, task: ChannelTask<Member>): void {
    if (task.type === 'send' && this.#goesAtOnce(channel)) {
      channel.begin(task);
      this.#advance(channel, Number.POSITIVE_INFINITY);
      this.#hooks.idle(channel);
      return;
    }
    channel.add(task);
    if (channel.waiting === 1 && !channel.active) this.#queue.push(channel);
    this.#schedule();
  }

  /** Calls `visit` for each of these members, after what is on its way to the channel already and before what comes later. */
  visit(channel: Channel<Member>, members: readonly Member[], visit: (member: Member) => void, done = () => {}): void {
    this.push(channel, { type: 'visit', items: 0, members, visited: 0, stride: STRIDE, visit, done });
  }

  /** The same where each visit may take long: the clock is read after each. */
  visitSlowly(channel: Channel<Member>, members: readonly Member[], visit: (member: Member) => void): void {
    this.push(channel, { type: 'visit', items: 0, members, visited: 0, stride: 1, visit, done: () => {} });
  }

  /** Goes on for `ms` with what waits, now instead of in the next turn. Don't call it while a slice is under way. */
  advance(ms: number): void {
    this.#run(this.#loop.now() + ms);
  }

  /**
   * Whether a task need not wait for a slice, since it is short and nothing waits before it. So a room of a few costs no
   * turn of the loop.
   */
  #goesAtOnce(channel: Channel<Member>): boolean {
    if (this.#queue.length > 0 || channel.active || channel.waiting > 0) return false;
    if (channel.size > STRIDE) return false;
    const now = this.#loop.now();
    if (this.#atOnceUntil !== undefined) return now < this.#atOnceUntil;
    this.#atOnceUntil = now + AT_ONCE_MS;
    this.#loop.soon(() => {
      this.#atOnceUntil = undefined;
    });
    return true;
  }

  #schedule() {
    if (this.#scheduled || this.#queue.length === 0) return;
    this.#scheduled = true;
    this.#loop.soon(() => {
      this.#scheduled = false;
      this.#run(this.#loop.now() + SLICE_MS);
      this.#schedule();
    });
  }

  /** Runs until `deadline`. Every channel that it comes to gets at least one stride. */
  #run(deadline: number) {
    const round = this.#queue;
    this.#queue = [];
    for (const [i, channel] of round.entries()) {
      const more = this.#advance(channel, deadline);
      if (more) this.#queue.push(channel);
      else this.#hooks.idle(channel);
      if (this.#loop.now() >= deadline) {
        this.#queue = round.slice(i + 1).concat(this.#queue);
        return;
      }
    }
  }

  /** Continues a channel's tasks; false if none is left. */
  #advance(channel: Channel<Member>, deadline: number): boolean {
    const { groups } = channel;
    for (;;) {
      const task = channel.active ?? channel.begin();
      if (!task) return false;
      if (task.type === 'visit') {
        if (!this.#visit(task, deadline)) return true;
        channel.finish();
        task.done();
        if (channel.waiting > 0 && this.#loop.now() >= deadline) return true;
        continue;
      }
      for (; channel.activeGroup < groups.length; channel.activeGroup++) {
        const group = groups[channel.activeGroup];
        const frame = task.frames[channel.activeGroup];
        if (!group) continue;
        if (!frame) group.cursor = group.end;
        else if (!this.#send(group, frame, task, deadline)) return true;
      }
      channel.finish();
      if (task.size > 0) this.#hooks.done(task.size);
      if (channel.waiting > 0 && this.#loop.now() >= deadline) return true;
    }
  }

  /** Continues a visit; false if the slice is over before everyone was visited. */
  #visit(task: VisitTask<Member>, deadline: number): boolean {
    const { members, stride, visit } = task;
    while (task.visited < members.length) {
      const stop = Math.min(members.length, task.visited + stride);
      while (task.visited < stop) visit(members[task.visited++]!);
      if (task.visited < members.length && this.#loop.now() >= deadline) return false;
    }
    return true;
  }

  /** Continues to send a frame; false if the slice is over before the group is through. */
  #send(group: Group<Member>, frame: FrameBytes, task: SendTask, deadline: number): boolean {
    const { sockets } = group;
    const { bytes, binary } = frame;
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
        const { connection } = group.members[group.cursor]!;
        if (verdict === DROPPED) {
          skipped++;
          fallBehind(connection);
          this.#hooks.dropped(connection);
        } else {
          sent++;
          this.#hooks.queued(connection);
        }
      }
      if (group.cursor < group.end && this.#loop.now() >= deadline) {
        through = false;
        break;
      }
    }
    this.#count(task, bytes.length, sent, skipped);
    return through;
  }

  /** Counts a frame of `bytes` with so many items that one member was sent apart from the others. */
  replayed(bytes: number, items: number): void {
    this.#written(bytes, 1);
    this.#counts.messagesDelivered += items;
  }

  #written(bytes: number, sent: number) {
    this.#counts.framesSent += sent;
    this.#counts.bytesSent += sent * (bytes + headerBytes(bytes));
  }

  #count(task: SendTask, bytes: number, sent: number, skipped: number) {
    const counts = this.#counts;
    this.#written(bytes, sent);
    if (task.missed) return;
    counts.messagesDelivered += sent * task.items;
    // What is in the history is sent once they have read.
    if (!task.place) counts.dropped.slow += skipped * task.items;
    // Wall time, as logic's: if both clocks are set, what is counted from then on is right again.
    const now = Date.now();
    if (sent > 0) for (const [at, items] of task.ages) observeLatency(counts, (now - at) / 1_000, items * sent);
  }
}

/** Bytes of a WebSocket frame's header (RFC 6455, 5.2; a server does not mask). */
function headerBytes(payload: number): number {
  return payload < 126 ? 2 : payload < 65_536 ? 4 : 10;
}
