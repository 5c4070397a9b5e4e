import type { Accepted, PartlyAccepted, PushRequest, Target } from '@pushcluster/protocol/api.ts';
import type { z } from 'zod';
import { authorize, type Caller } from '../access/authorization.ts';
import { idempotencyKey } from './idempotencyKey.ts';
import type { PushService } from './pushService.ts';

/** The successful answer to one push: its HTTP status and its body. */
export type PushedAnswer =
  | { status: 202; body: z.infer<typeof Accepted> }
  | { status: 207; body: z.infer<typeof PartlyAccepted> };

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
  const keyFor = (target: Target) => idempotencyKey(caller?.name, target, id ?? '');
  const idIn = (room: string) => keyFor({ type: 'room', room });
  const { failures, stored } = await pushes.push(to, items, { urgent, id: keyFor(to), idIn });
  const body = { accepted: items.length, ...(stored.length === 0 ? {} : { rooms: stored }) };
  if (failures.length === 0) return { status: 202, body };
  return { status: 207, body: { ...body, failed: failures } };
}
