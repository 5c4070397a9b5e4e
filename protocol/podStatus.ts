import { z } from 'zod';

const share = z.number().min(0).max(1).optional().catch(undefined);

/**
 * What a gateway or logic process answers to `GET /status` on its admin port: what the operator needs to know of a pod.
 * Unknown keys are dropped, and what is optional may be missing or of another form, which counts as missing: readers meet
 * older and newer pods. What is required stays so, in this form, for ever.
 */
export const PodStatus = z.object({
  version: z.string(),
  role: z.enum(['gateway', 'logic']),
  /** A gateway's name on the bus; of logic: its host. */
  name: z.string(),
  /** It leaves, or was told to move its connections away. */
  draining: z.boolean(),
  /** Gateways: connections, as the shards last said. */
  connections: z.number().int().min(0).optional().catch(undefined),
  /** Gateways: it has far more than the others and is about to move some, or does so. Absent from older versions. */
  fuller: z.boolean().optional().catch(undefined),
  /** Gateways: bytes of push frames written to sockets since the start. */
  bytesSentTotal: z.number().min(0).optional().catch(undefined),
  settings: z.object({
    generation: z.number().int().min(0),
    /** SHA-256 (hex) of the text of the settings file that counts; of the empty text where there is no file. */
    file: z.string().regex(/^[0-9a-f]{64}$/),
    /** Why the file as it is now was refused; absent where it counts. */
    refused: z.string().optional(),
    /** What it ignores of the operator's settings, since it is of another version; absent if nothing. */
    ignored: z.string().optional(),
  }),
  /** Descriptors: of a gateway those of its shards together, of logic those of the process. */
  fds: z.object({ limit: z.number().int().min(0), open: z.number().int().min(0) }),
  /** How near each is to where new connections are refused, 0 to 1; absent where it isn't measured. */
  pressure: z.object({ memory: share, fds: share, loop: share }).catch({}).default({}),
  bus: z.object({ connected: z.boolean() }),
  /** Logic: why NATS stores the pushes of some rooms with a history not; absent if it does. */
  historyFailed: z.string().optional().catch(undefined),
});
export type PodStatus = z.infer<typeof PodStatus>;
export type Pressure = PodStatus['pressure'];
