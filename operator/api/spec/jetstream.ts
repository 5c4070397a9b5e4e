import { z } from 'zod';
import { bytesIn, type Rule, ruled, size } from '../fields.ts';

/** Size of the storage of a server if none is set. */
export const JETSTREAM_SIZES = { memory: '32MiB', file: '1GiB' } as const;

const wasFile = "self.storage != 'file' || oldSelf.storage != 'file'";

export const JetStream = ruled(
  z.object({
    storage: z
      .enum(['memory', 'file'])
      .describe(
        'Where the servers store: in their memory, which a server loses when it restarts, or on a volume of each server (`file`). Changing it replaces all servers at once, and the histories begin anew.',
      ),
    size: size('nats.managed.jetstream.size', { min: '16MiB', max: '16384GiB' })
      .exactOptional()
      .describe(
        `Storage of each server. With \`file\`, the size of its volume, of which four fifths are used for messages; it cannot be changed. Defaults to \`${JETSTREAM_SIZES.memory}\` in memory and \`${JETSTREAM_SIZES.file}\` on volumes. Changing it restarts the servers one by one.`,
      ),
    sync: z
      .enum(['always', 'interval'])
      .default('always')
      .describe(
        'When a server with `file` writes to its disk: before it confirms a message (`always`), or every two minutes (`interval`), which is faster, but a power failure may lose what was confirmed. Changing it restarts the servers one by one.',
      ),
    storageClassName: z
      .string()
      .min(1)
      .max(253)
      .exactOptional()
      .describe('StorageClass of the volumes. Defaults to that of the Kubernetes cluster. It cannot be changed.'),
    whenDeleted: z
      .enum(['Retain', 'Delete'])
      .default('Retain')
      .describe(
        'What happens to the volumes when the PushCluster is deleted, or `storage` is no longer `file`. A PushCluster of the same name uses retained volumes again.',
      ),
  }),
  {
    rule: "self.storage == 'file' || !has(self.storageClassName)",
    message: 'nats.managed.jetstream.storageClassName requires storage file',
    fieldPath: '.storageClassName',
  },
  {
    rule: `${wasFile} || (has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName))`,
    message:
      'nats.managed.jetstream.storageClassName cannot be changed: the volumes of a StatefulSet stay as they were made',
    fieldPath: '.storageClassName',
  },
  {
    rule: `${wasFile} || ${sizeIn('self', 'file')}.compareTo(${sizeIn('oldSelf', 'file')}) == 0`,
    message: 'nats.managed.jetstream.size cannot be changed: the volumes of a StatefulSet stay as they were made',
    fieldPath: '.size',
  },
);

/** CEL: the size of JetStream's storage as a quantity. */
function sizeIn(jetstream: string, storage: 'memory' | 'file'): string {
  return `(has(${jetstream}.size) ? ${bytesIn(`${jetstream}.size`)} : quantity('${JETSTREAM_SIZES[storage].replace('B', '')}'))`;
}

/** Messages of 200 bytes take 3.6 times their size of a server's memory, those of 1,000 bytes 2.8 times. */
const memorySize = sizeIn('self.jetstream', 'memory');

/** Rules of the object that `jetstream` is in. */
export const JETSTREAM_RULES: readonly Rule[] = [
  {
    rule: '!has(self.jetstream) || !has(oldSelf.jetstream) || self.replicas == oldSelf.replicas',
    message:
      'nats.managed.replicas cannot be changed while nats.managed.jetstream is set: servers would lose what they store',
    fieldPath: '.replicas',
  },
  {
    rule: `!has(self.jetstream) || self.jetstream.storage != 'memory' || !has(self.resources) || !has(self.resources.limits) || !('memory' in self.resources.limits) || quantity(string(self.resources.limits['memory'])).compareTo(${memorySize}.add(${memorySize}).add(${memorySize}).add(${memorySize})) >= 0`,
    message:
      'nats.managed.resources.limits.memory must be at least four times nats.managed.jetstream.size with storage memory',
    fieldPath: '.resources.limits.memory',
  },
];
