import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkedIn, DASHBOARDS, dashboardText } from './dashboards.ts';

describe('the dashboards', () => {
  for (const [name, dashboard] of Object.entries(DASHBOARDS)) {
    const panels = (dashboard.panels ?? []).flatMap((panel) => ('targets' in panel ? [panel] : []));

    it(`${name}: is what its source says`, () => {
      assert.equal(checkedIn(name), dashboardText(dashboard), 'make them anew: node scripts/dashboards.ts');
    });

    it(`${name}: every panel says what it shows and what to do when it looks bad`, () => {
      assert.ok(panels.length > 5);
      for (const { title, description } of panels) {
        assert.ok(title);
        // What the panel shows and what to do are at least two sentences.
        assert.match(description ?? '', /[.:?].+[.:]/s, title);
        assert.ok((description?.length ?? 0) > 60, `${title}: ${description}`);
      }
      assert.equal(new Set(panels.map(({ title }) => title)).size, panels.length, 'a title names one panel');
    });

    it(`${name}: no panel lies over another`, () => {
      const cells = new Set<string>();
      for (const { gridPos, id } of dashboard.panels ?? []) {
        assert.ok(gridPos && gridPos.x + gridPos.w <= 24, `panel ${id}`);
        for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
          for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
            assert.ok(!cells.has(`${x} ${y}`), `panel ${id} lies over another at ${x}, ${y}`);
            cells.add(`${x} ${y}`);
          }
      }
      const ids = (dashboard.panels ?? []).map(({ id }) => id);
      assert.equal(new Set(ids).size, ids.length);
    });

    it(`${name}: queries go to the data source of the variable, and choose by variables that are there`, () => {
      const variables = new Set((dashboard.templating?.list ?? []).map((each) => each.name));
      const text = dashboardText(dashboard);
      for (const [, used = ''] of text.matchAll(/\$\{?([a-z]\w*)/g))
        assert.ok(variables.has(used) || used.startsWith('__'), `$${used} is no variable`);
      for (const { title, datasource, targets } of panels) {
        assert.equal(datasource?.uid, '$datasource', title);
        for (const target of targets ?? []) assert.deepEqual(target.datasource, datasource, title);
      }
    });
  }

  it('are all that the folder holds, each with a place of its own in Grafana', () => {
    const uids = Object.values(DASHBOARDS).map(({ uid }) => uid);
    assert.equal(new Set(uids).size, uids.length);
    for (const uid of uids) assert.match(uid ?? '', /^[a-z-]{1,40}$/);
  });
});
