import type { ServerResponse } from 'node:http';
import { Problem, retryAfterHeader } from '../errors/problem.ts';

/** Limits how many large responses are in memory: each has a slot while it is made, and until it was sent. */
export class ResponseSlots {
  readonly #max: number;
  readonly #onRefused: () => void;
  #taken = 0;

  constructor(max: number, onRefused: () => void) {
    this.#max = max;
    this.#onRefused = onRefused;
  }

  /**
   * Makes the content of `response`. Its slot is free again once it was sent, or its connection has closed.
   * Rejects with Problem overloaded if no slot is free.
   */
  async make<T>(response: ServerResponse, work: () => Promise<T>): Promise<T> {
    if (this.#taken >= this.#max) {
      this.#onRefused();
      throw new Problem('overloaded', `${this.#max} responses of this kind are being made or sent. Try again.`, {
        headers: retryAfterHeader(1),
      });
    }
    this.#taken++;
    try {
      return await work();
    } finally {
      onceEnded(response, () => this.#taken--);
    }
  }
}

function onceEnded(response: ServerResponse, run: () => void) {
  const { socket } = response.req;
  const ended = () => {
    response.off('close', ended);
    socket.off('close', ended);
    run();
  };
  if (socket.destroyed) return run();
  response.once('close', ended);
  // A response that waits for an earlier one does not learn that the connection has closed.
  socket.once('close', ended);
}
