import { isKubeError, isSilence, type KubeErrorReason } from '../kube/errors.ts';
import { type Ref, titleOf } from '../kube/objects.ts';
import type { Problem } from './status.ts';

/** Requests without an answer, one after the other, after which nobody is asked: one may be a webhook's that hangs. */
const SILENCES = 2;

/** One try to make a cluster be as wanted. What is refused keeps nothing else from being done, unless nobody answers at all. */
export class Attempt {
  readonly problems: Problem[] = [];
  #silences = 0;

  /**
   * Does something about an object. What is refused is a problem; undefined then. Rejects with what is no KubeError.
   * @param act not called where nobody answers: each would wait as long as the one before
   */
  async at<T>(object: Ref, act: () => Promise<T>): Promise<T | undefined> {
    if (this.isSilent) return undefined;
    try {
      const done = await act();
      this.#silences = 0;
      return done;
    } catch (error) {
      if (!isKubeError(error)) throw error;
      this.#silences = isSilence(error) ? this.#silences + 1 : 0;
      this.refused(titleOf(object), error.reason, error.message);
      return undefined;
    }
  }

  refused(object: string, reason: KubeErrorReason, message: string): void {
    this.problems.push({ object, reason, message });
  }

  /** Whether nobody answers: what was left to do is not done either. */
  get isSilent(): boolean {
    return this.#silences >= SILENCES;
  }

  /** Whether nothing was refused. */
  get isWell(): boolean {
    return this.problems.length === 0;
  }

  /** Whether all that was refused may well be taken in a moment: nobody has said that it is wrong. */
  get mayPass(): boolean {
    return !this.isWell && this.problems.every(({ reason }) => reason === 'unavailable' || reason === 'conflict');
  }
}
