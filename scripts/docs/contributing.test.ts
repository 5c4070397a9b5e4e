import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, it } from 'node:test';

const ROOT = resolve(import.meta.dirname, '../..');
const PAGE = readFileSync(join(ROOT, 'CONTRIBUTING.md'), 'utf8');

/** Files that an addition must change. Tests and other pages may mention it. */
const SOURCES =
  '{protocol,runtime,gateway,logic,operator,standalone,client,scripts,charts,crds}/**/*.{ts,js,json,yaml,tpl}';
const ELSEWHERE = ['test/harness/pushClusters.ts', ...globSync('docs/reference/*.md', { cwd: ROOT })];
/** Lists that an addition must not change. */
const FROZEN = ['operator/pushcluster/desired/writtenSettings.ts'];
/** Many files of the product mention these, so the page lists only the files to start with. */
const NOT_ALL = ['a client frame', 'a server frame', 'a reason to refuse a handshake'];

/** The sections "Adding X": the words of the example, and the listed files. */
function recipes(): { what: string; words: string[]; files: string[] }[] {
  return PAGE.split(/^## /m)
    .filter((section) => section.startsWith('Adding '))
    .map((section) => {
      const [, what = ''] = /^Adding (.+)$/m.exec(section) ?? [];
      const [, example = ''] = /^Example: (.+)\.$/m.exec(section) ?? [];
      return {
        what,
        words: [...example.replace(/\(.*\)/, '').matchAll(/`([^`]+)`/g)].map(([, word = '']) => word),
        files: [...section.matchAll(/^\| `([^`]+)` \|/gm)].map(([, file = '']) => file),
      };
    });
}

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}

describe('CONTRIBUTING.md', () => {
  it('says how to add a setting, a metric, a frame and a field of the resource', () => {
    const all = recipes().map(({ what }) => what);
    assert.deepEqual(all, [
      'a setting',
      'a metric',
      'a client frame',
      'a server frame',
      'a CRD field',
      'a reason to refuse a handshake',
    ]);
  });

  for (const { what, words, files } of recipes()) {
    const names = (text: string) => words.some((word) => text.includes(word));

    it(`lists for ${what} files that its example is in`, () => {
      assert.ok(words.length > 0);
      assert.deepEqual(
        files.filter((file) => !existsSync(join(ROOT, file)) || !names(read(file))),
        [],
      );
    });

    if (!NOT_ALL.includes(what))
      it(`lists for ${what} every file that its example is in`, () => {
        const exclude = (name: string) => ['node_modules', 'dist'].includes(name);
        const sources = globSync(SOURCES, { cwd: ROOT, exclude }).filter((file) => !/\.test\.ts$/.test(file));
        assert.deepEqual(
          [...sources, ...ELSEWHERE].filter((file) => names(read(file)) && ![...files, ...FROZEN].includes(file)),
          [],
        );
      });
  }

  it('names folders and files that are there', () => {
    const [, table = ''] = /^## Where things are\n([\s\S]*?)^## /m.exec(PAGE) ?? [];
    const folders = [...table.matchAll(/^\| (.+?) \|/gm)]
      .flatMap(([, cell = '']) => [...cell.matchAll(/`([^`]+)`/g)])
      .map(([, folder = '']) => folder);
    assert.ok(folders.length > 20);
    const files = [...PAGE.matchAll(/(?:FILES=|`node )([\w/.-]+\.ts)/g)].map(([, file = '']) => file);
    assert.deepEqual(
      [...folders, ...files].filter((path) => !existsSync(join(ROOT, path))),
      [],
    );
  });
});
