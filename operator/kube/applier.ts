import type { Client } from './client.ts';
import { digest, withDigest } from './digest.ts';
import { KubeError } from './errors.ts';
import { type KubeObject, keyOf, type Ref, titleOf } from './objects.ts';

/** An object as the operator wants it: those fields that it owns, and an owner that deletes it in the end. */
export type Desired = Ref & {
  metadata: { ownerReferences?: readonly { kind: string; name: string; uid: string }[] | undefined };
};

export type Applied = {
  object: KubeObject;
  /** Whether the API server was asked at all. */
  asked: boolean;
  /** Whether it changed anything. */
  changed: boolean;
};

/**
 * Applies objects, and asks nothing of the API server where nothing is to do: what was applied last time is wanted
 * again, and the object looks as it did then. Remembers two digests for each object of clusters that there are.
 */
export class Applier {
  readonly #client: Client;
  readonly #last = new Map<string, { desired: string; result: string }>();

  constructor(client: Client) {
    this.#client = client;
  }

  /**
   * Makes the object be as wanted. Rejects with a KubeError: `taken` where its name belongs to somebody else, `leaving`
   * where it belongs to an owner of the same name that is gone.
   * @param observed how it looks, as a reflector has it: undefined where there is none
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
   * A reflector is late, and may select by labels that somebody else's object doesn't have: whether the name is free is
   * asked by the write itself, and only where it isn't is there something to read.
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

  /** The object is gone, or is somebody else's concern. */
  forget(ref: Ref): void {
    this.#last.delete(idOf(ref));
  }

  get size(): number {
    return this.#last.size;
  }
}

/** Taking over what belongs to somebody else would break it, and delete it together with the PushCluster. */
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

/** Set by the controller of Deployments at the first look, and at each rollout. */
const REVISION = 'deployment.kubernetes.io/revision';

/** Everything but what changes without anybody wanting something else. */
function lasting(object: KubeObject): object {
  const { resourceVersion: _v, generation: _g, managedFields: _m, annotations, ...metadata } = object.metadata;
  const { [REVISION]: _r, ...kept } = annotations ?? {};
  return { ...withDigest(object), metadata: { ...metadata, annotations: kept }, status: undefined };
}

function idOf(ref: Ref): string {
  return `${ref.apiVersion}/${ref.kind}/${keyOf(ref)}`;
}
