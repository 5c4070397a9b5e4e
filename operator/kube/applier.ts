import type { Client } from './client.ts';
import { digest, withDigest } from './digest.ts';
import { KubeError } from './errors.ts';
import { type KubeObject, keyOf, type Ref, titleOf } from './objects.ts';

/** A desired object: the fields that the operator owns, and its owner. */
export type Desired = Ref & {
  metadata: { ownerReferences?: readonly { kind: string; name: string; uid: string }[] | undefined };
};

export type Applied = {
  object: KubeObject;
  /** Whether a request was sent. */
  asked: boolean;
  /** Whether the object was changed. */
  changed: boolean;
};

/**
 * Applies objects, and sends no request if nothing has changed: the desired object is the one applied last, and the
 * observed object is as it was after that. Keeps two digests for each object.
 */
export class Applier {
  readonly #client: Client;
  readonly #last = new Map<string, { desired: string; result: string }>();

  constructor(client: Client) {
    this.#client = client;
  }

  /**
   * Applies an object.
   * @param observed the object as a reflector has it; undefined if it does not exist
   * @throws KubeError, among others `taken` if an object of its name has another owner, and `leaving` if that owner is
   * a deleted one of the same name
   */
  async apply(desired: Desired, observed: KubeObject | undefined): Promise<Applied> {
    const id = idOf(desired);
    const last = this.#last.get(id);
    const wanted = digest(desired);
    if (observed && last?.desired === wanted && last.result === digest(lasting(observed)))
      return { object: observed, asked: false, changed: false };
    const { before, object } = observed ? await this.#change(observed, desired) : await this.#make(desired);
    this.#last.set(id, { desired: wanted, result: digest(lasting(object)) });
    return { object, asked: true, changed: object.metadata.resourceVersion !== before?.metadata.resourceVersion };
  }

  /**
   * A reflector lags behind, and selects by labels that an object of somebody else may not have. So the write itself
   * finds out whether the name is free, and the object is read only if it is not.
   */
  async #make(desired: Desired): Promise<{ before: KubeObject | undefined; object: KubeObject }> {
    const object = await this.#client.applyNew(desired);
    if (object) return { before: undefined, object };
    return this.#change(await this.#client.get(desired), desired);
  }

  async #change(before: KubeObject | undefined, desired: Desired) {
    if (before) refuseForeign(before, desired);
    return { before, object: await this.#client.apply(desired) };
  }

  /** The object was deleted, or is no longer managed. */
  forget(ref: Ref): void {
    this.#last.delete(idOf(ref));
  }

  get size(): number {
    return this.#last.size;
  }
}

/** Refuses to take over an object of somebody else: it would break, and be deleted together with the PushCluster. */
function refuseForeign(found: KubeObject, desired: Desired): void {
  const [owner] = desired.metadata.ownerReferences ?? [];
  if (!owner) return;
  const owners = found.metadata.ownerReferences ?? [];
  if (owners.some(({ uid }) => uid === owner.uid)) return;
  const title = titleOf(found);
  const { kind, name } = owner;
  if (owners.some((each) => each.kind === kind && each.name === name))
    throw new KubeError('leaving', `${title} belongs to a deleted ${kind} ${name} and is being deleted`, { code: 409 });
  const whose =
    owners.length === 0
      ? `does not belong to ${kind} ${name}`
      : `belongs to ${owners.map((each) => `${each.kind} ${each.name}`).join(', ')}`;
  throw new KubeError(
    'taken',
    `${title} already exists and ${whose}: delete it, or choose another name for ${kind} ${name}`,
    { code: 409 },
  );
}

/** Set by the Deployment controller, and changed at each rollout. */
const REVISION = 'deployment.kubernetes.io/revision';

/** The object without fields that change although its desired state does not. */
function lasting(object: KubeObject): object {
  const { resourceVersion: _v, generation: _g, managedFields: _m, annotations, ...metadata } = object.metadata;
  const { [REVISION]: _r, ...kept } = annotations ?? {};
  return { ...withDigest(object), metadata: { ...metadata, annotations: kept }, status: undefined };
}

function idOf(ref: Ref): string {
  return `${ref.apiVersion}/${ref.kind}/${keyOf(ref)}`;
}
