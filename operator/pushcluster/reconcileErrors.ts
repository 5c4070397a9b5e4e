import { isKubeError, isSilence, type KubeError, type KubeErrorReason } from '../kube/errors.ts';
import { type Ref, titleOf } from '../kube/objects.ts';
import type { Problem } from './status.ts';

/** Unanswered requests in a row after which no more are sent. One alone may be the fault of a webhook that hangs. */
const MAX_UNANSWERED = 2;

/**
 * The errors of one reconcile. An object that the API server rejects does not keep the others from being written; an
 * API server that does not answer does.
 */
export class ReconcileErrors {
  readonly problems: Problem[] = [];
  #unanswered = 0;

  /**
   * Runs a request about an object and collects its error.
   * @param act not called once the API server is unresponsive: every call would wait for its timeout
   * @returns undefined if the request failed or was not sent
   * @throws what is not a KubeError
   */
  async collect<T>(object: Ref, act: () => Promise<T>): Promise<T | undefined> {
    if (this.isUnresponsive) return undefined;
    try {
      const done = await act();
      this.#unanswered = 0;
      return done;
    } catch (error) {
      if (!isKubeError(error)) throw error;
      this.#unanswered = isSilence(error) ? this.#unanswered + 1 : 0;
      this.add(titleOf(object), error.reason, messageOf(object, error));
      return undefined;
    }
  }

  add(object: string, reason: KubeErrorReason, message: string): void {
    this.problems.push({ object, reason, message });
  }

  /** Why an object could not be written; undefined if there was no error about it. */
  reasonOf(object: Ref): KubeErrorReason | undefined {
    return this.problems.find((problem) => problem.object === titleOf(object))?.reason;
  }

  /** The API server does not answer. The remaining requests of this reconcile are not sent. */
  get isUnresponsive(): boolean {
    return this.#unanswered >= MAX_UNANSWERED;
  }

  get isEmpty(): boolean {
    return this.problems.length === 0;
  }

  /** There are errors, and a retry may resolve each of them: the API server was unavailable or reported a conflict. */
  get areTransient(): boolean {
    return !this.isEmpty && this.problems.every(({ reason }) => reason === 'unavailable' || reason === 'conflict');
  }
}

/** Kinds that a Kubernetes cluster may lack: what brings them, and the field that asks for them. */
const BROUGHT_BY: ReadonlyMap<string, string> = new Map([
  ['ScaledObject', 'install KEDA, or remove gateway.autoscaling.keda'],
  ['PrometheusRule', 'install the Prometheus Operator, or remove monitoring.rules'],
]);
/** What the API server says of a kind that it does not have, in place of a Status. */
const NO_SUCH_PAGE = '404 page not found';

function messageOf({ apiVersion, kind }: Ref, { reason, message }: KubeError): string {
  const advice = BROUGHT_BY.get(kind);
  if (reason !== 'notFound' || message !== NO_SUCH_PAGE || advice === undefined) return message;
  return `the kind ${kind} (${apiVersion}) is not installed: ${advice}`;
}
