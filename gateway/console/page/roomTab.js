import { clip, commentOf, describe } from './comment.js';
import { Figures } from './figures.js';
import { find, make } from './find.js';
import { CUT, Line } from './line.js';
import { Lines } from './lines.js';
import { Positions } from './positions.js';
import { serveForm } from './pushForm.js';
import { PushClient } from './sdk.js';
import { Stage } from './stage.js';

/** Longest frame that the list shows in full, in characters. */
const FRAME_TEXT = 2_000;

/** Pushes of its history that a room begins with. */
const LAST = 20;

const PROTOCOLS = {
  deflate: ['pushcluster.v1.deflate', 'pushcluster.v1'],
  v1: ['pushcluster.v1'],
  none: [],
};

/**
 * The rooms in the page's address (`#room=a&room=b`): they outlast a reload, and the address can be shared. An address
 * that ends in `#` names no room: the user left them all. Without `#` it is the page's first visit.
 *
 * @param {string | undefined} first room of a first visit, if any
 */
function roomsOfAddress(first) {
  if (location.href.includes('#')) return new URLSearchParams(location.hash.slice(1)).getAll('room');
  return first ? [first] : [];
}

/** @param {{ pushUrl: string, room?: string }} settings `room`: joined at once on a first visit */
export function serveRoomTab({ pushUrl, room: firstRoom }) {
  const url = find('url', HTMLInputElement);
  const token = find('token', HTMLInputElement);
  const protocol = find('protocol', HTMLSelectElement);
  const connectionForm = find('connection', HTMLFormElement);
  const connectButton = find('connect', HTMLButtonElement);
  const roomInput = find('room', HTMLInputElement);
  const chips = find('chips', HTMLUListElement);
  const status = find('status', HTMLElement);
  const pause = find('pause', HTMLButtonElement);
  const items = new Lines(find('items', HTMLOListElement), { limit: 200, newestFirst: true });
  const frames = new Lines(find('frames', HTMLOListElement), { limit: 100, newestFirst: true, millis: true });
  const figures = new Figures(find('figures', HTMLElement));
  const stage = new Stage();
  const cutRow = find('cut-row', HTMLElement);
  const cutFor = find('cut-for', HTMLSelectElement);
  const cutButton = find('cut', HTMLButtonElement);
  const line = new Line();
  /** Marks the items that this page pushes. Latency is measured for these only: their `at` is of this page's own clock. */
  const me = crypto.getRandomValues(new Uint32Array(1))[0]?.toString(36) ?? '';
  /** @type {Set<string>} */
  const rooms = new Set(roomsOfAddress(firstRoom));
  /** @type {PushClient | undefined} */
  let push;

  url.value = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/connect`;
  const form = serveForm({ pushUrl, me });

  /**
   * @param {string} state
   * @param {string} text
   */
  const show = (state, text) => {
    status.dataset.state = state;
    status.textContent = text;
    const on = push !== undefined;
    connectButton.textContent = on ? 'Disconnect' : 'Connect';
    connectButton.classList.toggle('primary', !on);
    connectionForm.toggleAttribute('data-on', on);
    cutRow.hidden = !on;
    for (const field of [url, token, protocol]) field.disabled = on;
  };

  /**
   * @param {string} what
   * @param {string} [className]
   */
  const news = (what, className = 'news') => items.add({ at: Date.now(), what, className });

  /**
   * @param {unknown} item
   * @param {string} from
   */
  const arrived = (item, from) => {
    items.add({ at: Date.now(), what: describe(item), tag: from });
    const comment = commentOf(item);
    if (comment) stage.show(comment);
    if (typeof item !== 'object' || item === null || Reflect.get(item, 'by') !== me) return;
    const at = Reflect.get(item, 'at');
    if (typeof at === 'number') figures.latency(performance.now() - at);
  };

  const drawChips = () => {
    history.replaceState(
      null,
      '',
      rooms.size > 0 ? `#${new URLSearchParams([...rooms].map((room) => ['room', room]))}` : '#',
    );
    chips.replaceChildren(
      ...[...rooms].map((name) => {
        const chip = document.createElement('li');
        const leave = document.createElement('button');
        leave.type = 'button';
        leave.textContent = '×';
        leave.setAttribute('aria-label', `Leave ${name}`);
        leave.addEventListener('click', () => {
          rooms.delete(name);
          joined.get(name)?.leave();
          joined.delete(name);
          drawChips();
        });
        chip.dataset.room = name;
        chip.dataset.state = confirmed.has(name) ? 'joined' : 'joining';
        chip.append(make('span', '', name), leave);
        return chip;
      }),
    );
  };

  /** @type {Map<string, import('./sdk.js').Room>} */
  const joined = new Map();
  /** @type {Set<string>} */
  const confirmed = new Set();
  const positions = new Positions(joined, news);

  /** @param {string} name */
  const join = (name) => {
    if (!push || push.state === 'closed' || joined.has(name)) return;
    const room = push.join(name, { last: LAST, storage: storageOfTab() });
    joined.set(name, room);
    positions.watch(room);
    room.on('item', (item) => arrived(item, name));
    room.joined.then(
      () => {
        confirmed.add(name);
        drawChips();
        stage.clear(`You are in the room ${name}. Push a comment to it: the comment appears here.`);
        news(`Joined ${name}.`);
      },
      // The error event, or the one that left, has told why.
      () => forget(name, room),
    );
  };

  /**
   * @param {string} name
   * @param {import('./sdk.js').Room} [room]
   */
  const forget = (name, room = joined.get(name)) => {
    if (joined.get(name) !== room) return;
    joined.delete(name);
    confirmed.delete(name);
    if (push) rooms.delete(name);
    drawChips();
  };

  const disconnect = () => {
    const closing = push;
    push = undefined;
    joined.clear();
    confirmed.clear();
    closing?.close();
    drawChips();
  };

  const connect = () => {
    const protocols = PROTOCOLS[/** @type {keyof typeof PROTOCOLS} */ (protocol.value)];
    try {
      push = new PushClient(url.value, {
        protocols,
        WebSocket: line.WebSocket,
        ...(token.value && { token: token.value }),
      });
    } catch (error) {
      show('closed', error instanceof Error ? error.message : String(error));
      return;
    }
    const client = push;
    show('connecting', 'Connecting…');
    client.on('open', () => {
      show('open', 'Connected');
      news('Connected.');
    });
    client.on('state', (state) => {
      if (line.isCut) return;
      if (state === 'moving') show('moving', 'Moving to another gateway…');
      else if (state === 'connecting') show('connecting', 'Connecting…');
    });
    client.on('moved', () => {
      show('open', 'Connected');
      news('Moved to another gateway without loss or duplicates.');
    });
    client.on('close', ({ code, reason, willRetry, retryIn }) => {
      if (push !== client || line.isCut) return;
      const why = reason ? `${code}, ${reason}` : String(code);
      if (willRetry)
        show('waiting', `Disconnected (${why}), reconnecting in ${Math.max(0.1, (retryIn ?? 0) / 1000).toFixed(1)} s`);
      else {
        disconnect();
        show('closed', `Closed by the gateway (${why})`);
      }
      news(`Connection closed: ${why}.`, 'news bad');
    });
    client.on('lagged', ({ room, dropped, reason }) =>
      news(`Missed ${dropped} items${in_(room)}: ${reason}.`, 'news bad'),
    );
    client.on('gap', ({ room, missed }) => news(`Gap: ${missed} items${in_(room)} did not arrive.`));
    client.on('left', ({ room, reason }) => {
      news(`Removed from ${room}: ${reason}`, 'news bad');
      forget(room);
    });
    client.on('error', (error) => {
      if (error.cause !== CUT) news(`${error.code}: ${error.message}`, 'news bad');
    });
    client.on('frame', (frame) => {
      figures.frame(frame);
      const size = `${frame.bytes.toLocaleString('en')} B`;
      const count = frame.items > 0 ? `, ${frame.items} ${frame.items === 1 ? 'item' : 'items'}` : '';
      frames.add({ at: frame.at, what: clip(frame.text, FRAME_TEXT), tag: size + count });
    });
    client.all.on('item', (item) => arrived(item, 'everyone'));
    client.user.on('item', (item) => arrived(item, 'you'));
    for (const name of rooms) join(name);
  };

  connectionForm.addEventListener('submit', (event) => {
    event.preventDefault();
    if (push) {
      disconnect();
      show('idle', 'Not connected');
      news('Disconnected.');
    } else connect();
  });
  cutButton.addEventListener('click', () => {
    const seconds = Number(cutFor.value);
    cutButton.disabled = true;
    line.cut(seconds, () => {
      cutButton.disabled = false;
    });
    show('waiting', `Connection cut for ${seconds} s`);
    news(`Connection cut for ${seconds} s.`, 'news bad');
  });
  find('join', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    rooms.add(roomInput.value);
    form.aim(roomInput.value);
    if (push) join(roomInput.value);
    else connect();
    drawChips();
  });
  pause.addEventListener('click', () => {
    items.paused = frames.paused = !items.paused;
    pause.setAttribute('aria-pressed', String(items.paused));
    pause.textContent = items.paused ? 'Resume' : 'Pause';
  });
  find('clear', HTMLButtonElement).addEventListener('click', () => {
    items.clear();
    frames.clear();
  });

  drawChips();
  if (rooms.size > 0) connect();
}

/** Where positions outlast a reload; none in a page that may not store. */
function storageOfTab() {
  try {
    return sessionStorage;
  } catch {
    return undefined;
  }
}

/** @param {string | undefined} room */
function in_(room) {
  return room === undefined ? '' : ` in ${room}`;
}
