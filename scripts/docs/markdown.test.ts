import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { slug } from '../../docs/site/slug.ts';
import { anchorsOf, linksOf, titleOf, withLinks } from './markdown.ts';

describe('links of a text', () => {
  it('are its links and images, with their anchors, and those of a picture that is a link', () => {
    const links = linksOf('[a](x.md#one) ![b](y.png) [`c[]`](z.md) [![d](i.svg)](d.md "title") [e](#two)');
    assert.deepEqual(
      links.map(({ target, anchor, isImage }) => `${isImage ? '!' : ''}${target}${anchor}`),
      ['x.md#one', '!y.png', 'z.md', 'd.md', '!i.svg', '#two'],
    );
  });

  it('are none in code', () => {
    assert.deepEqual(linksOf('`[a](b.md)`\n\n```md\n[c](d.md)\n```\n\n~~~\n[e](f.md)\n~~~\n'), []);
  });

  it('are replaced, and nothing else is', () => {
    const text = '# A\n\n[`a`](a.md#b) and `[a](a.md)`\n\n```\n[a](a.md)\n```\n\n[![p](p.png)](a.md)\n';
    const changed = withLinks(text, ({ target, anchor }) => `/${target}${anchor}`);
    assert.equal(
      changed,
      text.replace('(a.md#b)', '(/a.md#b)').replace('[![p](p.png)](a.md)', '[![p](/p.png)](/a.md)'),
    );
  });
});

describe('headings', () => {
  it('have the anchors that GitHub gives them', () => {
    const titles = { "Clients' addresses": 'clients-addresses', 'Rooms, users': 'rooms-users', 'GET /ws': 'get-ws' };
    for (const [title, anchor] of Object.entries(titles)) assert.equal(slug(title), anchor);
  });

  it('that come twice get a number, and comments in code are none', () => {
    assert.deepEqual(anchorsOf('# A `b`\n\n## C\n\n```sh\n# no\n```\n\n## C\n\n### [D](e.md)\n'), [
      'a-b',
      'c',
      'c-1',
      'd',
    ]);
  });

  it('give the title: the first one', () => {
    assert.equal(titleOf('<!-- made -->\n\n# The `title`\n\n## More\n'), 'The title');
    assert.equal(titleOf('no heading'), '');
  });
});
