import { make } from './find.js';

/** Seconds that the sparklines show, and seconds over which the numbers are averaged. */
const SHOWN = 60;
const AVERAGED = 5;
/** Number of latest latencies that the percentiles are computed from. */
const LATENCIES = 500;

/** @typedef {{ items: number, frames: number, bytes: number, plain: number, p50: number, p99: number }} Second */

const NOTHING = { items: 0, frames: 0, bytes: 0, plain: 0, p50: 0, p99: 0 };

/** @type {{ name: string, value: (figures: Figures) => string, note?: (figures: Figures) => string, line: (second: Second) => number }[]} */
const RATES = [
  { name: 'Items per second', value: (f) => amount(f.rate('items')), line: (s) => s.items },
  { name: 'Frames per second', value: (f) => amount(f.rate('frames')), line: (s) => s.frames },
  {
    name: 'Bytes per second',
    value: (f) => bytes(f.rate('bytes')),
    note: (f) => (f.saved > 0 ? ` −${Math.round(f.saved * 100)} %` : ''),
    line: (s) => s.bytes,
  },
  {
    name: 'Items per frame',
    value: (f) => amount(f.rate('frames') > 0 ? f.rate('items') / f.rate('frames') : 0),
    line: (s) => (s.frames > 0 ? s.items / s.frames : 0),
  },
];

/** What arrives per second, as numbers and sparklines. */
export class Figures {
  /** @type {Second[]} */
  #seconds = Array.from({ length: SHOWN }, () => NOTHING);
  /** @type {Second} */
  #now = { ...NOTHING };
  /** @type {number[]} */
  #latencies = [];
  /** @type {(() => void)[]} */
  #draws = [];

  /** @param {HTMLElement} list */
  constructor(list) {
    for (const { name, value, note, line } of RATES) {
      const tile = new Tile(list, name);
      this.#draws.push(() => tile.draw(value(this), note?.(this) ?? '', this.#seconds.map(line)));
    }
    for (const percent of /** @type {const} */ ([50, 99])) {
      const tile = new Tile(list, `Latency p${percent}`);
      this.#draws.push(() => {
        const [value, note] = milliseconds(this.percentile(percent));
        tile.draw(
          value,
          note,
          this.#seconds.map((second) => second[`p${percent}`]),
        );
      });
    }
    this.#draw();
    setInterval(() => this.#tick(), 1_000);
  }

  /** @param {{ bytes: number, text: string, items: number }} frame */
  frame({ bytes, text, items }) {
    this.#now.frames++;
    this.#now.bytes += bytes;
    this.#now.plain += new TextEncoder().encode(text).length;
    this.#now.items += items;
  }

  /** @param {number} ms from this page's push to the arrival of its item */
  latency(ms) {
    this.#latencies.push(Math.max(0, ms));
    if (this.#latencies.length > LATENCIES) this.#latencies.shift();
  }

  /**
   * @param {keyof Second} what
   * @returns {number} per second, over the last AVERAGED seconds
   */
  rate(what) {
    const seconds = this.#seconds.slice(-AVERAGED);
    return seconds.reduce((sum, second) => sum + second[what], 0) / seconds.length;
  }

  /** Fraction of the bytes that compression saved. */
  get saved() {
    const plain = this.rate('plain');
    return plain > 0 ? 1 - this.rate('bytes') / plain : 0;
  }

  /**
   * @param {number} percent
   * @returns {number | undefined} milliseconds
   */
  percentile(percent) {
    const sorted = this.#latencies.toSorted((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))];
  }

  #tick() {
    this.#seconds.push({ ...this.#now, p50: this.percentile(50) ?? 0, p99: this.percentile(99) ?? 0 });
    this.#seconds.shift();
    this.#now = { ...NOTHING };
    if (!document.hidden) this.#draw();
  }

  #draw() {
    for (const draw of this.#draws) draw();
  }
}

/** One figure with its sparkline. */
class Tile {
  #value = make('dd', '', '');
  #note = make('small', '', '');
  #area = shape('path', 'area');
  #line = shape('path', 'line');

  /**
   * @param {HTMLElement} list
   * @param {string} name
   */
  constructor(list, name) {
    const box = document.createElement('div');
    const chart = shape('svg', '');
    chart.setAttribute('viewBox', `0 0 ${SHOWN - 1} 100`);
    chart.setAttribute('preserveAspectRatio', 'none');
    chart.setAttribute('aria-hidden', 'true');
    chart.append(this.#area, this.#line);
    box.append(make('dt', '', name), this.#value, chart);
    list.append(box);
  }

  /**
   * @param {string} value
   * @param {string} note
   * @param {number[]} points
   */
  draw(value, note, points) {
    this.#note.textContent = note;
    this.#value.replaceChildren(value, this.#note);
    const top = Math.max(...points, 1e-9);
    const path = points.map((y, x) => `${x},${(96 - (y / top) * 84).toFixed(1)}`).join(' L');
    this.#line.setAttribute('d', `M${path}`);
    this.#area.setAttribute('d', `M0,100 L${path} L${SHOWN - 1},100 Z`);
  }
}

/**
 * @param {string} tag
 * @param {string} className
 */
function shape(tag, className) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  if (className) element.setAttribute('class', className);
  return element;
}

/** @param {number} value */
function amount(value) {
  return value >= 100 ? Math.round(value).toLocaleString('en') : String(Math.round(value * 10) / 10);
}

/** @param {number} value */
function bytes(value) {
  if (value < 1_000) return `${Math.round(value)} B`;
  return value < 1e6 ? `${amount(value / 1e3)} kB` : `${amount(value / 1e6)} MB`;
}

/**
 * @param {number | undefined} value
 * @returns {[value: string, note: string]}
 */
function milliseconds(value) {
  return value === undefined ? ['–', ' push to measure'] : [`${amount(value)} ms`, ''];
}
