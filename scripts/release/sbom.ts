import { execFileSync } from 'node:child_process';
import { z } from 'zod';
import type { Release } from './release.ts';

/** The workspaces whose dependencies are shipped: in an image each, and the SDK in its bundle. */
export const PRODUCTS = ['operator', 'gateway', 'logic', 'client'] as const;

const Bom = z.looseObject({
  serialNumber: z.string(),
  metadata: z.looseObject({ timestamp: z.string(), component: z.looseObject({ name: z.string() }) }),
});

/**
 * The npm packages in a product, in CycloneDX's JSON, as npm reads them from package-lock.json. Without what npm draws by lot,
 * so that the same sources make the same bytes. Debian's packages in an image are in its own list (/var/lib/dpkg/status.d).
 */
export function billOfMaterials({ root, seconds }: Release, product: (typeof PRODUCTS)[number]): string {
  const args = ['sbom', '--sbom-format=cyclonedx', '--package-lock-only', '--omit=dev', `--workspace=${product}`];
  const text = execFileSync('npm', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const { serialNumber: _, ...bom } = Bom.parse(JSON.parse(text));
  bom.metadata.timestamp = new Date(seconds * 1_000).toISOString();
  // npm takes the name of the folder.
  bom.metadata.component.name = `pushcluster-${product}`;
  return `${JSON.stringify(bom, null, 2)}\n`;
}
