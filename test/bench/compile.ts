import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';

const HERE = import.meta.dirname;
export const BUILD = join(HERE, '../../.build/bench');

/**
 * Compiles a C program of this folder with `cc -O2`, once for each version of the folder's C files. Returns the
 * program's path. Throws if there is no C compiler.
 */
export function compiled(name: 'client' | 'sendloop'): string {
  const hash = createHash('sha256');
  const sources = readdirSync(HERE).filter((file) => /\.[ch]$/.test(file));
  for (const file of sources.sort()) hash.update(file).update(readFileSync(join(HERE, file)));
  const program = join(BUILD, hash.digest('hex').slice(0, 16), name);
  if (existsSync(program)) return program;
  mkdirSync(dirname(program), { recursive: true });
  const unfinished = `${program}.${process.pid}`;
  try {
    execFileSync('cc', ['-O2', '-std=gnu11', '-Wall', '-Wextra', '-o', unfinished, join(HERE, `${name}.c`)], {
      stdio: 'inherit',
    });
  } catch (error) {
    throw new Error(`the bench needs a C compiler for ${name}.c: install gcc (Debian: apt-get install gcc libc6-dev)`, {
      cause: error,
    });
  }
  renameSync(unfinished, program);
  return program;
}
