import { registerHooks } from 'node:module';
import { env } from 'node:process';

/**
 * Preloaded (`--import`) into the fault test and the processes that it starts: breaks the product on purpose, as SABOTAGE
 * says, by changing sources as they are loaded. What the test does not find then, it would not find in a broken product.
 */

/** A part of a source, and what takes its place. */
type Change = [file: string, part: string, instead: string];

const SABOTAGES: Record<string, Change[]> = {
  'no repair': [
    [
      'gateway/hub/history/historyInlet.ts',
      "    this.#wait(stored);\n    this.#want(stored.seq, 'gap');",
      '    this.#take(stored);',
    ],
    ['gateway/hub/history/historyInlet.ts', "this.#want(seq, 'compare')", 'return'],
  ],
  'no deduplication': [['runtime/history/natsHistory.ts', "'Nats-Msg-Id': id, ", '']],
  'an epoch that does not change': [
    [
      'runtime/history/historyStream.ts',
      'JSON.stringify([stream.name, created, metadata[METADATA.nonce]])',
      'stream.name',
    ],
    // Logic would wait for the epoch to change.
    [
      'logic/history/roomHistories.ts',
      'state = await store.state(match);\n      if (state.epoch === epoch)',
      'state = await store.state(match);\n      if (state.epoch === undefined)',
    ],
  ],
  'a position that moves late': [
    [
      'client/history.ts',
      '  #position: Position | undefined;',
      '  #position: Position | undefined;\n  #late: Position | undefined;',
    ],
    [
      'client/history.ts',
      '    this.#position = position;\n    this.#last',
      '    this.#late = this.#position;\n    this.#position = position;\n    this.#last',
    ],
    ['client/history.ts', '    const since = this.#position;\n', '    const since = this.#late;\n'],
    [
      'client/history.ts',
      '      this.source = connection;\n      this.#missing =',
      '      this.source = connection;\n      this.#position = since;\n      this.#missing =',
    ],
  ],
  'losses that are not told': [
    ['gateway/hub/lossNotices.ts', '  lose(items: number, afterPending: boolean): void {', '$&\n    return;'],
  ],
};

const changes = SABOTAGES[env.SABOTAGE ?? ''];
if (!changes) throw new Error(`SABOTAGE is one of ${Object.keys(SABOTAGES).join(', ')}`);

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    const mine = changes.filter(([file]) => url.endsWith(`/${file}`));
    if (mine.length === 0) return loaded;
    let source = String(loaded.source);
    for (const [file, part, instead] of mine) {
      if (!source.includes(part)) throw new Error(`${file} has no more what is sabotaged: ${part}`);
      source = source.replace(part, instead);
    }
    return { ...loaded, source };
  },
});
