import { isKubeError, isSilence, type KubeErrorReason } from '../kube/errors.ts';
import { type Ref, titleOf } from '../kube/objects.ts';
import type { Problem } from './status.ts';

/** One try to make a cluster be as wanted. What is refused keeps nothing else from being done, unless nobody answers at all. */
export class Attempt {
  readonly problems: Problem[] = [];
  /** Whether nobody answered: what was left to do is not done either. */
  isSilent = false;

  /**
   * Does something about an object. What is refused is a problem; undefined then. Rejects with what is no KubeError.
   * @param act not called where the one before had no answer: each would wait as long
   */
  async at<T>(object: Ref, act: () => Promise<T>): Promise<T | undefined> {
    if (this.isSilent) return undefined;
    try {
      return await act();
    } catch (error) {
      if (!isKubeError(error)) throw error;
      this.isSilent = isSilence(error);
      this.refused(titleOf(object), error.reason, error.message);
      return undefined;
    }
  }

  refused(object: string, reason: KubeErrorReason, message: string): void {
    this.problems.push({ object, reason, message });
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
