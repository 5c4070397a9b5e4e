import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { queryOf } from '@pushcluster/gateway/plan/address.ts';
import { MEASURED } from '@pushcluster/gateway/plan/constants.ts';
import { EXAMPLES } from '@pushcluster/gateway/plan/examples.ts';
import { plan } from '@pushcluster/gateway/plan/model.ts';
import { figures, shares, verdict } from '@pushcluster/gateway/plan/summary.ts';
import { fileOf, picture, runs, summary } from './scenarios.ts';

/** docs/explanation/capacity.md with the current figures of the model and the simulation, and the page's pictures. */

const PAGE = 'docs/explanation/capacity.md';
const PICTURES = 'docs/images';

/** Paths from the root, and the text that each file must have. */
export function documents(): [file: string, text: string][] {
  const all = runs();
  const parts: Record<string, string> = {
    constants: constants(),
    simulation: summary(all),
    ...Object.fromEntries(EXAMPLES.map(({ id }) => [`example ${id}`, example(id)])),
  };
  const page = readFileSync(join(import.meta.dirname, '../..', PAGE), 'utf8');
  return [
    [PAGE, filled(page, parts)],
    ...all.map((run): [string, string] => [join(PICTURES, fileOf(run)), picture(run)]),
  ];
}

/** Inserts each part between its marks. Throws if the page lacks the marks of a part, or has marks without a part. */
export function filled(page: string, parts: Readonly<Record<string, string>>): string {
  const used = new Set<string>();
  const text = page.replace(
    /(<!-- figures: (.*?) -->\n)[\s\S]*?(<!-- end -->)/g,
    (_, head: string, name: string, end) => {
      const part = parts[name];
      if (part === undefined) throw new Error(`there are no figures "${name}" for ${PAGE}`);
      used.add(name);
      return `${head}\n${part}\n\n${end}`;
    },
  );
  for (const name of Object.keys(parts))
    if (!used.has(name)) throw new Error(`${PAGE} has no place for the figures "${name}"`);
  return text;
}

function example(id: string): string {
  const { inputs } = EXAMPLES.find((each) => each.id === id)!;
  const planned = plan(inputs);
  const address = queryOf(inputs);
  return [
    table(
      ['', '', ''],
      figures(inputs, planned).map(({ name, value, note }) => [name, value, note]),
    ),
    '',
    `In use: ${shares(planned)
      .map(({ name, value }) => `${name} ${value}`)
      .join(', ')}.`,
    '',
    `**${verdict(inputs, planned)}**`,
    '',
    `In the calculator: \`/plan${address && `?${address}`}\``,
  ].join('\n');
}

function constants(): string {
  return table(
    ['figure', 'value', 'command'],
    Object.values(MEASURED).map(({ what, value, unit, command }) => [
      what,
      `${value.toLocaleString('en')} ${unit}`,
      `\`${command}\``,
    ]),
  );
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
