import Danmaku from './danmaku.js';
import { find, make } from './find.js';

/** Pixels per second, and how long a comment of usual length takes to enter in full: then its line is free for the next. */
const SPEED = 200;
const ENTRANCE_MS = 2_000;
/** Height of a line, as the style sheet has it, in pixels. */
const LINE = 36;
/** Comments that may wait for a line, and lines of the list for reduced motion. More can't be read: they are counted. */
const MOST_WAITING = 10;
const CALM_LINES = 8;
/** The library never drops old comments. It is created anew after RENEW comments, once the stage is empty, or at once after RENEW_AT_LAST. */
const RENEW = 500;
const RENEW_AT_LAST = 10_000;

/** The area where comments fly, or are listed if the user prefers reduced motion. */
export class Stage {
  #sky = find('sky', HTMLElement);
  #calm = find('calm', HTMLElement);
  #hint = find('hint', HTMLElement);
  #more = find('more', HTMLElement);
  #still = matchMedia('(prefers-reduced-motion: reduce)');
  #flown = 0;
  #skipped = 0;
  /** @type {{ text: string, color: string }[]} */
  #waiting = [];
  /** @type {Danmaku} */
  #danmaku;

  constructor() {
    this.#danmaku = this.#launch();
    new ResizeObserver(() => this.#danmaku.resize()).observe(this.#sky);
    this.#start();
    this.#still.addEventListener('change', () => this.#arrange());
    this.#arrange();
    setInterval(() => this.#tellSkipped(), 1_000);
  }

  /** @param {{ text: string, color: string | undefined }} comment */
  show({ text, color }) {
    // A hidden page draws nothing: all comments would start at once when it is shown again.
    if (document.hidden) return;
    this.#hint.hidden = true;
    if (this.#waiting.length >= MOST_WAITING) {
      this.#skipped++;
      return;
    }
    const safe = color !== undefined && CSS.supports('color', color) ? color : '#ffffff';
    this.#waiting.push({ text, color: safe });
  }

  /** @param {string} hint what the user can do to see a comment */
  clear(hint) {
    this.#hint.textContent = hint;
    this.#hint.hidden = false;
    this.#waiting.length = 0;
    this.#danmaku.clear();
    this.#calm.replaceChildren();
  }

  /** Starts waiting comments one at a time: the comments of a frame arrive together, and would overlap. */
  #start() {
    const next = this.#waiting.shift();
    if (next && this.#still.matches) this.#list(next.text, next.color);
    else if (next) this.#fly(next.text, next.color);
    const lines = Math.max(3, Math.floor(this.#sky.offsetHeight / LINE));
    setTimeout(() => this.#start(), ENTRANCE_MS / lines);
  }

  /**
   * @param {string} text
   * @param {string} color
   */
  #fly(text, color) {
    if (
      this.#flown >= RENEW_AT_LAST ||
      (this.#flown >= RENEW && this.#sky.querySelector(':scope > div > div') === null)
    ) {
      this.#danmaku.destroy();
      this.#danmaku = this.#launch();
      this.#flown = 0;
    }
    this.#flown++;
    this.#danmaku.emit({ text, style: { color } });
  }

  /**
   * @param {string} text
   * @param {string} color
   */
  #list(text, color) {
    const line = make('li', '', text);
    line.style.color = color;
    this.#calm.append(line);
    while (this.#calm.childElementCount > CALM_LINES) this.#calm.firstElementChild?.remove();
  }

  #launch() {
    return new Danmaku({ container: this.#sky, engine: 'dom', speed: SPEED });
  }

  #arrange() {
    this.#sky.hidden = this.#still.matches;
    this.#calm.hidden = !this.#still.matches;
    if (!this.#still.matches) this.#danmaku.resize();
  }

  #tellSkipped() {
    this.#more.hidden = this.#skipped === 0;
    this.#more.textContent = `${this.#skipped} more per second`;
    this.#skipped = 0;
  }
}
