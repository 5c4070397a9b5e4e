import { type Answer, Command, type GatewayStats, type Question } from '@pushcluster/protocol/control.ts';
import type { Bus } from '@pushcluster/runtime/bus/bus.ts';
import { SUBJECTS } from './api.ts';

/** Answers logic's questions on the bus as a gateway with these rooms and users would. */
export class FakeGateway {
  silent = false;
  readonly commands: Command[] = [];
  readonly #bus: Bus;
  readonly #name: string;

  constructor(bus: Bus, name: string, rooms: Record<string, number>, users: Record<string, number>) {
    this.#bus = bus;
    this.#name = name;
    bus.subscribe(SUBJECTS.command, (bytes) => {
      const command = Command.parse(JSON.parse(Buffer.from(bytes).toString()));
      if (!('ask' in command)) this.commands.push(command);
      else if (!this.silent) this.#say(command.reply, this.#answer(command, rooms, users));
    });
  }

  report() {
    this.#say(SUBJECTS.stat(this.#name), { ...this.#stats(), leaving: false });
  }

  #answer(question: Question, rooms: Record<string, number>, users: Record<string, number>): Answer {
    const head = { ask: question.ask, gateway: this.#name };
    switch (question.type) {
      case 'rooms': {
        const list = Object.entries(rooms).map(([room, connections]) => ({ room, connections }));
        return { type: 'rooms', ...head, rooms: list.slice(0, question.limit) };
      }
      case 'room':
        return { type: 'room', ...head, connections: rooms[question.room] ?? 0 };
      case 'user':
        return { type: 'user', ...head, connections: users[question.user] ?? 0 };
      case 'stats':
        return { type: 'stats', ...head, stats: this.#stats() };
    }
  }

  #stats(): GatewayStats {
    return {
      gateway: this.#name,
      connections: 10,
      rooms: 2,
      shards: 1,
      messagesDelivered: 5,
      framesSent: 4,
      bytesSent: 300,
      messagesDropped: 0,
      draining: false,
      startedAt: 1,
    };
  }

  #say(subject: string, value: object) {
    this.#bus.publish(subject, Buffer.from(JSON.stringify(value)));
  }
}
