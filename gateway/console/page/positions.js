import { find, make } from './find.js';

/** Milliseconds between two looks: positions change with each frame. */
const LOOK_MS = 250;

/** @typedef {import('./sdk.js').Room} Room */

/** Where each room with history is, and how it came there. */
export class Positions {
  #list = find('positions', HTMLUListElement);
  #joined;
  #news;
  /** @type {WeakMap<Room, { row: HTMLElement, place: HTMLElement, outcome: HTMLElement }>} */
  #rows = new WeakMap();

  /**
   * @param {ReadonlyMap<string, Room>} joined
   * @param {(text: string, className?: string) => void} news
   */
  constructor(joined, news) {
    this.#joined = joined;
    this.#news = news;
    setInterval(() => this.#draw(), LOOK_MS);
  }

  /** @param {Room} room that was just joined */
  watch(room) {
    const row = make('li', '', '');
    const place = make('span', 'place', '');
    const outcome = make('span', 'outcome', '');
    row.dataset.room = room.name;
    row.append(make('span', 'name', room.name), place, outcome);
    this.#rows.set(room, { row, place, outcome });
    let hasBegun = room.position !== undefined;
    room.on('resumed', ({ items }) => {
      const count = `${items} ${items === 1 ? 'item' : 'items'}`;
      row.dataset.outcome = 'good';
      outcome.textContent = hasBegun ? `recovered, ${items} missed` : `began with ${count}`;
      this.#news(
        hasBegun
          ? `${room.name} continued where it was: ${items} missed ${items === 1 ? 'item' : 'items'} arrived, nothing is lost.`
          : `${room.name} began with ${count} of its history.`,
      );
      hasBegun = true;
    });
    room.on('reset', ({ reason }) => {
      row.dataset.outcome = 'bad';
      outcome.textContent = `not recovered (${reason})`;
      this.#news(`${room.name} did not continue where it was (${reason}): items may be missing.`, 'news bad');
      hasBegun = true;
    });
  }

  #draw() {
    const rows = [];
    for (const room of this.#joined.values()) {
      const { position } = room;
      const shown = this.#rows.get(room);
      if (!position || !shown) continue;
      const text = `seq ${position.seq}, epoch ${position.epoch}`;
      if (shown.place.textContent !== text) shown.place.textContent = text;
      rows.push(shown.row);
    }
    const { children } = this.#list;
    if (rows.length !== children.length || rows.some((row, i) => row !== children[i]))
      this.#list.replaceChildren(...rows);
  }
}
