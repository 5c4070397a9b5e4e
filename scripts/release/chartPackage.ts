import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Release } from './release.ts';

/**
 * Packs the chart as `helm package` does, but with the same bytes each time. It then knows where its sources and its
 * runbook are, and which registry has its images, if these are known.
 */
export function packChart({ root, version, repository, registry, runbook, seconds }: Release, folder: string): void {
  const work = mkdtempSync(join(tmpdir(), 'pushcluster-release-'));
  try {
    const chart = join(work, 'pushcluster');
    cpSync(join(root, 'charts/pushcluster'), chart, { recursive: true });
    if (repository !== undefined)
      edit(join(chart, 'Chart.yaml'), (text) => `${text}home: ${repository}\nsources:\n  - ${repository}\n`);
    if (registry !== undefined)
      edit(join(chart, 'values.yaml'), (text) => replaced(text, '  registry: ""\n', `  registry: ${registry}\n`));
    if (runbook !== undefined)
      edit(join(chart, 'values.yaml'), (text) => replaced(text, '    runbook: ""\n', `    runbook: ${runbook}\n`));
    const file = join(folder, `pushcluster-${version}.tgz`);
    const same = [
      '--sort=name',
      '--owner=0',
      '--group=0',
      '--numeric-owner',
      '--mode=u=rwX,go=rX',
      `--mtime=@${seconds}`,
    ];
    const tar = execFileSync('tar', ['-C', work, ...same, '-cf', '-', 'pushcluster'], { maxBuffer: 1e8 });
    writeFileSync(file, execFileSync('gzip', ['-9n'], { input: tar, maxBuffer: 1e8 }));
  } finally {
    rmSync(work, { recursive: true });
  }
}

function edit(file: string, change: (text: string) => string): void {
  writeFileSync(file, change(readFileSync(file, 'utf8')));
}

function replaced(text: string, before: string, after: string): string {
  if (!text.includes(before)) throw new Error(`values.yaml has no line "${before.trim()}"`);
  return text.replace(before, () => after);
}
