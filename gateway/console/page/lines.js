import { make } from './find.js';

/**
 * @typedef {object} Line
 * @property {string} [className]
 * @property {string} [kind]
 * @property {number} at milliseconds since the epoch
 * @property {string} what
 * @property {string} [tag]
 */

/** A bounded list of lines, drawn at most once per animation frame. */
export class Lines {
  #list;
  #limit;
  #newestFirst;
  #millis;
  /** @type {Line[]} */
  #waiting = [];
  #drawing = false;
  paused = false;

  /**
   * @param {HTMLElement} list
   * @param {{ limit: number, newestFirst: boolean, millis?: boolean }} options
   */
  constructor(list, { limit, newestFirst, millis = false }) {
    this.#list = list;
    // A list that scrolls must be reachable by keyboard.
    list.tabIndex = 0;
    this.#limit = limit;
    this.#newestFirst = newestFirst;
    this.#millis = millis;
  }

  /** @param {Line} line */
  add(line) {
    if (this.paused) return;
    this.#waiting.push(line);
    if (this.#waiting.length > this.#limit) this.#waiting.shift();
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => this.#draw());
  }

  clear() {
    this.#waiting.length = 0;
    this.#list.replaceChildren();
  }

  #draw() {
    this.#drawing = false;
    const list = this.#list;
    const followed = list.scrollHeight - list.scrollTop - list.clientHeight < 24;
    const rows = this.#waiting.splice(0).map((line) => this.#row(line));
    if (this.#newestFirst) list.prepend(...rows.reverse());
    else list.append(...rows);
    while (list.childElementCount > this.#limit)
      (this.#newestFirst ? list.lastElementChild : list.firstElementChild)?.remove();
    if (!this.#newestFirst && followed) list.scrollTop = list.scrollHeight;
  }

  /** @param {Line} line */
  #row({ className = '', kind, at, what, tag }) {
    const row = document.createElement('li');
    row.className = className;
    const date = new Date(at);
    const time = make(
      'time',
      '',
      date.toTimeString().slice(0, 8) + (this.#millis ? `.${String(at % 1000).padStart(3, '0')}` : ''),
    );
    time.setAttribute('datetime', date.toISOString());
    row.append(time);
    if (kind !== undefined) {
      row.dataset.kind = kind;
      row.append(make('span', 'kind', kind));
    }
    row.append(make('span', 'what', what));
    if (tag !== undefined) row.append(make('span', 'tag', tag));
    return row;
  }
}
