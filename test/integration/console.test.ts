import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import type { Browser, Page } from 'playwright-core';
import { open, startChromium, type WatchedPage } from '../harness/browser.ts';
import { freePorts } from '../harness/ports.ts';
import { type Standalone, startStandalone } from '../harness/standalone.ts';
import { PATIENCE_MS, until } from '../harness/until.ts';

const PHONE = { viewport: { width: 360, height: 760 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };

/** Comments that fly, or have been listed, now. */
const FLYING = '#sky > div > div';

describe('the console in Chromium', () => {
  let standalone: Standalone;
  let browser: Browser;

  before(async () => {
    [standalone, browser] = await Promise.all([startStandalone(), startChromium()]);
  });
  after(async () => {
    await browser?.close();
    await standalone?.stop();
  });

  /** A page in a room of its own. The `#` names no room: the page does not join the demo room. */
  async function inRoom(room: string, options: Parameters<typeof open>[2] = {}): Promise<WatchedPage> {
    const watched = await open(browser, `${standalone.page}/#`, options);
    await watched.page.fill('#room', room);
    await watched.page.click('#join button');
    await watched.page.waitForSelector(`#chips li[data-room="${room}"][data-state=joined]`);
    return watched;
  }

  /** Where the history of the room demo is, as the console shows a position. */
  async function lastPlace(): Promise<string> {
    const answer = await fetch(`${standalone.pushApi}/v1/rooms/demo/history?limit=1`);
    const { epoch, pushes } = (await answer.json()) as { epoch: string; pushes: { seq: number }[] };
    return `seq ${pushes[0]?.seq}, epoch ${epoch}`;
  }

  async function leaveClean({ page, complaints }: WatchedPage): Promise<void> {
    await page.context().close();
    assert.deepEqual(complaints, []);
  }

  it('opens connected and in the room demo: a push there is shown, and nothing was clicked', async () => {
    const watched = await open(browser, `${standalone.page}/`);
    const { page } = watched;
    await page.waitForSelector('#chips li[data-room=demo][data-state=joined]');
    assert.equal(await page.textContent('#status'), 'Connected');
    await noteFlights(page);
    assert.equal(await standalone.push({ room: 'demo' }, ['hello']), 202);
    await until('it has flown', async () => (await flights(page)).length === 1);
    assert.equal((await flights(page))[0]?.text, 'hello');
    assert.equal(await page.textContent('#items .what >> nth=0'), 'hello');
    await leaveClean(watched);
  });

  it('has a history of the room demo, and of no other', async () => {
    assert.equal(await standalone.push({ room: 'demo' }, ['kept']), 202);
    const history = (room: string) => fetch(`${standalone.pushApi}/v1/rooms/${room}/history?limit=1`);
    const { pushes } = (await (await history('demo')).json()) as { pushes: { items: unknown[] }[] };
    assert.deepEqual(
      pushes.map(({ items }) => items),
      [['kept']],
    );
    assert.equal((await history('other')).status, 404);
  });

  it('shows what a room with history pushed while the connection was cut: each item once, in order', async () => {
    const watched = await open(browser, `${standalone.page}/`);
    const { page } = watched;
    // What an earlier test pushed may still come.
    await page.waitForSelector(`#positions li[data-room=demo] .place:text-is("${await lastPlace()}")`);
    await page.selectOption('#cut-for', '2');
    await page.click('#cut');
    assert.equal(await page.textContent('#status'), 'Connection cut for 2 s');
    assert.ok(await page.isDisabled('#cut'));
    for (const item of ['cut 1', 'cut 2', 'cut 3']) assert.equal(await standalone.push({ room: 'demo' }, [item]), 202);
    await page.waitForSelector('#positions li[data-room=demo] .outcome:text-is("recovered, 3 missed")');
    await page.waitForSelector(
      '#items .what:text-is("demo continued where it was: 3 missed items arrived, nothing is lost.")',
    );
    assert.equal(await page.textContent('#status'), 'Connected');
    assert.ok(await page.isEnabled('#cut'));
    const newestFirst = await page.locator('#items .what').allTextContents();
    assert.deepEqual(
      newestFirst.filter((text) => text.startsWith('cut ')),
      ['cut 3', 'cut 2', 'cut 1'],
    );
    const place = await lastPlace();
    await page.waitForSelector(`#positions li[data-room=demo] .place:text-is("${place}")`);
    await leaveClean(watched);
  });

  it('cuts a room without history too: there, what was pushed meanwhile does not come', async () => {
    const watched = await inRoom('no-history');
    const { page } = watched;
    await page.selectOption('#cut-for', '2');
    await page.click('#cut');
    await standalone.push({ room: 'no-history' }, ['lost']);
    await page.waitForSelector('#status[data-state=open]');
    await until('the room is joined again', async () => {
      await standalone.push({ room: 'no-history' }, ['after']);
      return (await page.locator('#items .what:text-is("after")').count()) > 0;
    });
    assert.equal(await page.locator('#items .what:text-is("lost")').count(), 0);
    assert.equal(await page.locator('#positions li').count(), 0);
    await leaveClean(watched);
  });

  it('begins with the last pushes of a room with history, and continues where it was after a reload', async () => {
    for (const item of ['last 1', 'last 2']) await standalone.push({ room: 'demo' }, [item]);
    const watched = await open(browser, `${standalone.page}/`);
    const { page } = watched;
    await page.waitForSelector('#positions li[data-room=demo] .outcome:has-text("began with")');
    await page.waitForSelector('#items .what:text-is("last 2")');
    assert.deepEqual((await itemsShown(page)).slice(0, 2), ['last 2', 'last 1']);
    await page.goto('about:blank');
    await standalone.push({ room: 'demo' }, ['while the page was away']);
    await page.goto(`${standalone.page}/`);
    // It is missed, or comes right after that, with the others of its second.
    await page.waitForSelector('#positions li[data-room=demo] .outcome:text-matches("^recovered, [01] missed$")');
    await page.waitForSelector('#items .what:text-is("while the page was away")');
    assert.deepEqual(await itemsShown(page), ['while the page was away']);
    const place = await lastPlace();
    await page.waitForSelector(`#positions li[data-room=demo] .place:text-is("${place}")`);
    await leaveClean(watched);
  });

  it('says so if a room cannot continue, because its history was made anew', async (t) => {
    const ports = await freePorts(3);
    const former = await startStandalone(ports);
    t.after(() => former.stop());
    const { page } = await open(browser, `${former.page}/`);
    await page.waitForSelector('#positions li[data-room=demo] .outcome:has-text("began with")');
    await former.push({ room: 'demo' }, ['of the former history']);
    await page.waitForSelector('#items .what:text-is("of the former history")');
    await former.stop();
    const next = await startStandalone(ports);
    t.after(() => next.stop());
    await page.waitForSelector('#positions li[data-room=demo] .outcome:text-is("not recovered (unrecovered)")');
    await page.waitForSelector('#items .bad .what:has-text("items may be missing")');
    await page.context().close();
  });

  it('stays out of the room demo after a reload, once its user has left it', async () => {
    const watched = await open(browser, `${standalone.page}/`);
    const { page } = watched;
    await page.waitForSelector('#chips li[data-room=demo][data-state=joined]');
    await page.click('button[aria-label="Leave demo"]');
    await page.reload();
    await page.waitForSelector('#figures dd');
    assert.equal(await page.locator('#chips li').count(), 0);
    assert.equal(await page.textContent('#status'), 'Not connected');
    await leaveClean(watched);
  });

  it("shows a comment that the page's own curl line pushes, flying, whatever characters it has", async () => {
    const watched = await inRoom('curl');
    const { page } = watched;
    const text = `it's "50 %" of $HOME \\ & <b>bold</b> 弹幕 🎉`;
    await page.fill('#comment', text);
    await page.check('input[name=color][value="#ff8787"]', { force: true });
    const line = (await page.textContent('#curl'))!;
    assert.match(line, /^curl http:\/\/127\.0\.0\.1:\d+\/v1\/push /);
    await noteFlights(page);
    await promisify(execFile)('sh', ['-c', `${line} --fail --silent --show-error`]);
    await until('the comment has flown some way', async () => ((await flights(page))[0]?.way ?? 0) > 20);
    const [comment] = await flights(page);
    assert.equal(comment?.text, text);
    assert.match(comment.style, /color: rgb\(255, 135, 135\)/);
    assert.equal(await page.textContent('#items .what >> nth=0'), text);
    assert.match((await page.textContent('#frames .what >> nth=0'))!, /"type":"PUSH","data":\{"room":"curl","ids":/);
    await leaveClean(watched);
  });

  it('shows markup in an item as text, wherever it comes from', async () => {
    const watched = await inRoom('markup');
    const { page } = watched;
    const markup = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>';
    const items = [markup, { text: markup, color: 'red;background:url(//x)' }, { unknown: markup }];
    await noteFlights(page);
    assert.equal(await standalone.push({ room: 'markup' }, items), 202);
    await until('all of them are listed', async () => (await page.locator('#items .tag').count()) === 3);
    await until('comments have flown', async () => (await flights(page)).length === 2);
    const shown = await flights(page);
    assert.ok(shown.every(({ text }) => markup.startsWith(text.replace('…', ''))));
    assert.ok(shown.every(({ elements }) => elements === 0));
    for (const list of ['#items', '#frames', '#calm'])
      assert.equal(await page.locator(`${list} :is(img, script, b)`).count(), 0);
    assert.equal(await page.title(), 'PushCluster console');
    await leaveClean(watched);
  });

  it('pushes by its form to a room, and shows rates and latency of what comes back', async () => {
    const watched = await inRoom('form');
    const { page } = watched;
    await page.fill('#comment', 'from the form');
    await page.press('#comment', 'Enter');
    await page.waitForSelector('#result[data-outcome=good]');
    assert.match((await page.textContent('#result'))!, /^202 /);
    const figure = (name: string) => page.textContent(`#figures div:has(dt:text-is("${name}")) dd`);
    await until('the latency is known', async () => /^[\d.]+ ms/.test((await figure('Latency p50')) ?? ''));
    // The figures are those of the last seconds: they are gone again if a busy machine looks late.
    const isCounted = async (name: string) => {
      await page.press('#comment', 'Enter');
      return Number.parseFloat((await figure(name)) ?? '') > 0;
    };
    for (const name of ['Items per second', 'Items per frame'])
      await until(`${name} are counted`, () => isCounted(name), PATIENCE_MS, 500);
    await leaveClean(watched);
  });

  it('says what the push API refuses', async () => {
    const watched = await inRoom('refused');
    const { page } = watched;
    await page.fill('#target-name', 'é'.repeat(100));
    await page.click('#push-one');
    await page.waitForSelector('#result[data-outcome=bad]');
    assert.match((await page.textContent('#result'))!, /^400 /);
    await page.context().close();
  });

  it('leaves a room, joins it again from the address after a reload, and works without a subprotocol', async () => {
    const watched = await inRoom('first');
    const { page } = watched;
    await page.fill('#room', 'second');
    await page.click('#join button');
    await page.waitForSelector('#chips li[data-room=second][data-state=joined]');
    await page.click('button[aria-label="Leave first"]');
    assert.equal(await page.locator('#chips li').count(), 1);
    await page.reload();
    await page.waitForSelector('#chips li[data-room=second][data-state=joined]');
    await page.click('#connect');
    assert.equal(await page.textContent('#status'), 'Not connected');
    await page.click('#connection summary');
    await page.selectOption('#protocol', 'none');
    await page.click('#connect');
    await page.waitForSelector('#chips li[data-room=second][data-state=joined]');
    await standalone.push({ room: 'first' }, ['not for us']);
    await standalone.push({ room: 'second' }, ['for us']);
    await page.waitForSelector('#items .what:text-is("for us")');
    assert.equal(await page.locator('#items .what:text-is("not for us")').count(), 0);
    await leaveClean(watched);
  });

  it('lists comments in place of flying them for who prefers reduced motion', async () => {
    const watched = await inRoom('calm', { reducedMotion: 'reduce' });
    await standalone.push({ room: 'calm' }, ['quietly']);
    await watched.page.waitForSelector('#calm li:text-is("quietly")');
    assert.equal(await watched.page.locator(FLYING).count(), 0);
    await leaveClean(watched);
  });

  it('logs the echo: CONNECTED, SENT, RESPONSE, ERROR and DISCONNECTED, as text', async () => {
    const watched = await open(browser, `${standalone.page}/`);
    const { page } = watched;
    await page.click('#tab-echo');
    await page.click('#echo-connect');
    const line = (kind: string, text: string) =>
      page.waitForSelector(`#echo-log li[data-kind=${kind}]:has-text(${JSON.stringify(text)})`);
    await line('CONNECTED', `${standalone.socket}/ws`);
    await line('RESPONSE', 'heartbeat');
    const markup = '<img src=x onerror=alert(1)> & text';
    await page.fill('#echo-text', markup);
    await page.click('#echo-submit');
    await line('SENT', markup);
    await line('RESPONSE', markup);
    assert.equal(await page.locator('#echo-log img').count(), 0);
    await page.click('#echo-close');
    await line('DISCONNECTED', '1000');
    assert.ok(await page.isDisabled('#echo-submit'));
    assert.deepEqual(watched.complaints, []);
    await page.fill('#echo-url', 'ws://127.0.0.1:1/ws');
    await page.click('#echo-connect');
    await line('ERROR', 'no connection');
    await line('DISCONNECTED', '1006');
    await page.context().close();
  });

  it('is worked by keyboard: tabs by arrows, chips and lists by Tab', async () => {
    const watched = await open(browser, `${standalone.page}/`);
    const { page } = watched;
    await page.focus('#tab-room');
    await page.keyboard.press('ArrowRight');
    assert.ok(await page.isVisible('#panel-echo'));
    assert.ok(!(await page.isVisible('#panel-room')));
    assert.equal(await page.getAttribute('#tab-echo', 'aria-selected'), 'true');
    await page.keyboard.press('Home');
    assert.ok(await page.isVisible('#panel-room'));
    assert.equal(await page.evaluate('document.activeElement.id'), 'tab-room');
    assert.deepEqual(await unnamedControls(page), []);
    assert.equal(await page.getAttribute('html', 'lang'), 'en');
    await leaveClean(watched);
  });

  it('fits a phone: no horizontal scroll, and targets that a finger hits', async () => {
    const watched = await inRoom(`${'long'.repeat(30)}`, PHONE);
    const { page } = watched;
    await standalone.push({ room: 'long'.repeat(30) }, ['W'.repeat(2_000), { unbroken: 'x'.repeat(2_000) }]);
    await until('both are listed', async () => (await page.locator('#items .tag').count()) === 2);
    await page.fill('#room', 'demo');
    await page.click('#join button');
    await page.waitForSelector('#positions li[data-room=demo] .place');
    assert.ok(await page.isVisible('#cut'));
    const overflow = () => page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
    assert.equal(await overflow(), 0);
    const small = await page.evaluate(`
      [...document.querySelectorAll('#panel-room button, #panel-room input[type=text], #panel-room select, [role=tab]')]
        .filter((control) => control.checkVisibility() && control.getBoundingClientRect().height < 36)
        .map((control) => control.id)`);
    assert.deepEqual(small, []);
    await page.click('#tab-echo');
    assert.equal(await overflow(), 0);
    await leaveClean(watched);
  });

  it('is under a policy that allows nothing inline, and the test would notice a violation', async () => {
    const watched = await open(browser, `${standalone.page}/`);
    const { page, complaints } = watched;
    assert.equal(complaints.length, 0);
    await page.evaluate(`
      const style = document.createElement('style');
      style.textContent = 'body { color: red }';
      document.head.append(style);`);
    await until('the violation is told', () => complaints.some((text) => text.startsWith('style-src')));
    const { headers } = await page.request
      .get(`${standalone.page}/`)
      .then((response) => ({ headers: response.headers() }));
    assert.match(headers['content-security-policy']!, /^default-src 'none'; script-src 'self'; style-src 'self';/);
    await page.context().close();
  });

  it('loads nothing from anywhere else', async () => {
    const watched = await open(browser, 'about:blank');
    const origins = new Set<string>();
    watched.page.on('request', (request) => origins.add(new URL(request.url()).origin));
    await watched.page.goto(`${standalone.page}/`);
    await watched.page.waitForSelector('#figures dd');
    assert.deepEqual([...origins], [standalone.page]);
    await watched.page.context().close();
  });
});

/** A comment that flies or has flown: its way in pixels, and the elements within it. */
type Flight = { text: string; style: string; way: number; elements: number };

/**
 * Notes the comments that fly from now on, for `flights`: on a busy machine a comment may have flown by before a test
 * looks.
 */
async function noteFlights(page: Page): Promise<void> {
  await page.evaluate(`
    window.flights = new Map();
    const look = () => {
      for (const comment of document.querySelectorAll(${JSON.stringify(FLYING)})) {
        const { x } = comment.getBoundingClientRect();
        const from = Math.max(flights.get(comment)?.from ?? x, x);
        const style = comment.getAttribute('style') ?? '';
        const elements = comment.querySelectorAll('*').length;
        flights.set(comment, { from, way: from - x, style, elements, text: comment.textContent });
      }
      requestAnimationFrame(look);
    };
    look();`);
}

function flights(page: Page): Promise<Flight[]> {
  return page.evaluate('[...flights.values()]');
}

/** The items that the console lists, newest first, without its own news. */
function itemsShown(page: Page): Promise<string[]> {
  return page.locator('#items li:not(.news) .what').allTextContents();
}

/** Controls without a name that a screen reader could say. */
function unnamedControls(page: Page): Promise<unknown> {
  return page.evaluate(`
    [...document.querySelectorAll('button, input, select, textarea')]
      .filter((control) => !control.getAttribute('aria-label') && !control.textContent.trim() && !control.labels?.length)
      .map((control) => control.id)`);
}
