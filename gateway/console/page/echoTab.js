import { clip } from './comment.js';
import { find } from './find.js';
import { Lines } from './lines.js';

/** Longest message that the log shows in full, in characters. */
const SHOWN = 4_000;

/** The tab of the diagnostic echo at `/ws`, with a log of its events. */
export function serveEchoTab() {
  const url = find('echo-url', HTMLInputElement);
  const connect = find('echo-connect', HTMLButtonElement);
  const close = find('echo-close', HTMLButtonElement);
  const send = find('echo-submit', HTMLButtonElement);
  const text = find('echo-text', HTMLTextAreaElement);
  const hush = find('echo-hush', HTMLInputElement);
  const log = new Lines(find('echo-log', HTMLOListElement), { limit: 500, newestFirst: false, millis: true });
  /** @type {WebSocket | undefined} */
  let socket;

  url.value = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`;

  /**
   * @param {string} kind
   * @param {string} what
   */
  const say = (kind, what) => log.add({ at: Date.now(), kind, what: clip(what, SHOWN) });

  const draw = () => {
    connect.disabled = url.disabled = socket !== undefined;
    close.disabled = socket === undefined;
    send.disabled = socket?.readyState !== WebSocket.OPEN;
  };

  const open = () => {
    try {
      socket = new WebSocket(url.value);
    } catch (error) {
      say('ERROR', error instanceof Error ? error.message : String(error));
      return;
    }
    const opened = socket;
    opened.binaryType = 'arraybuffer';
    opened.onopen = () => {
      say('CONNECTED', url.value);
      draw();
    };
    opened.onmessage = ({ data }) => {
      if (data === 'heartbeat' && hush.checked) return;
      say('RESPONSE', typeof data === 'string' ? data : `${data.byteLength} bytes, binary`);
    };
    opened.onerror = () => say('ERROR', `no connection to ${url.value}`);
    opened.onclose = ({ code, reason }) => {
      say('DISCONNECTED', reason ? `${code} ${reason}` : String(code));
      if (socket === opened) socket = undefined;
      draw();
    };
    draw();
  };

  find('echo-connection', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    if (!socket) open();
  });
  close.addEventListener('click', () => socket?.close(1000));
  find('echo-send', HTMLFormElement).addEventListener('submit', (event) => {
    event.preventDefault();
    if (socket?.readyState !== WebSocket.OPEN) return;
    say('SENT', text.value);
    socket.send(text.value);
  });
  text.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) text.form?.requestSubmit();
  });
  find('echo-clear', HTMLButtonElement).addEventListener('click', () => log.clear());
  draw();
}
