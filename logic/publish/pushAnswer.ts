import type { PushFailure, PushRequest } from '@pushcluster/protocol/api.ts';
import { authorize, type Caller } from '../access/authorization.ts';
import { idempotencyKey } from './idempotencyKey.ts';
import type { PushService } from './pushService.ts';

/** The successful answer to one push: its HTTP status and its body. */
export type PushedAnswer =
  | { status: 202; body: { accepted: number } }
  | { status: 207; body: { accepted: number; failed: PushFailure[] } };

/**
 * Makes one push of the v1 API. Throws Problem forbidden, and what PushService throws.
 * @param items the items' JSON texts
 */
export async function answerPush(
  pushes: PushService,
  caller: Caller | null,
  { to, urgent, id }: PushRequest,
  items: readonly Uint8Array[],
): Promise<PushedAnswer> {
  authorize(caller, to);
  const failed = await pushes.push(to, items, { urgent, id: idempotencyKey(caller?.name, to, id ?? '') });
  if (failed.length === 0) return { status: 202, body: { accepted: items.length } };
  return { status: 207, body: { accepted: items.length, failed } };
}
