import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig } from 'vitepress';
import { slug } from '../slug.ts';

// scripts/docs.ts runs this build, and says where the pages are and where the site goes.
const pages = process.env.DOCS_PAGES ?? '.';
const contents = JSON.parse(readFileSync(join(pages, 'contents.json'), 'utf8'));

export default defineConfig({
  title: 'PushCluster',
  description: 'Kubernetes-native WebSocket push for live rooms',
  lang: 'en',
  // Set it where the site is not at the root of its host.
  base: process.env.BASE ?? '/',
  srcDir: pages,
  outDir: process.env.DOCS_OUT ?? 'dist',
  head: [['link', { rel: 'icon', href: 'data:,' }]],
  markdown: { anchor: { slugify: slug } },
  themeConfig: {
    sidebar: contents,
    outline: [2, 3],
    // An index within the site: nothing is asked of another host.
    search: { provider: 'local' },
  },
});
