import { readFileSync } from 'node:fs';
import { z } from 'zod';

const Manifest = z.object({ version: z.string() });

/** The version of this build, such as `0.1.0`. */
export const VERSION = Manifest.parse(
  JSON.parse(readFileSync(new URL('./package.json', import.meta.url), 'utf8')),
).version;
