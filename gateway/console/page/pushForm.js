import { find } from './find.js';

/** Comments of the button "Push 20". */
const SAMPLES = [
  'First!',
  'Good evening from Lisbon',
  '太好看了',
  'こんばんは',
  'What a save',
  '¡Vamos!',
  'Greetings from Nairobi',
  'Bravo !',
  '좋아요',
  'That was close',
  'Wunderschön',
  'Who is winning?',
  'Привет из Казани',
  'GOAL',
  'Can you hear the crowd?',
  '加油加油',
  'Encore',
  'Che bello',
  'Best stream this year',
  'See you all tomorrow',
];
const SAMPLE_PAUSE_MS = 120;

/**
 * The form that pushes through the push API, and its `curl` line.
 *
 * @param {{ pushUrl: string, me: string }} options
 */
export function serveForm({ pushUrl, me }) {
  const form = find('push', HTMLFormElement);
  const target = find('target', HTMLSelectElement);
  const name = find('target-name', HTMLInputElement);
  const comment = find('comment', HTMLInputElement);
  const api = find('push-url', HTMLInputElement);
  const key = find('key', HTMLInputElement);
  const urgent = find('urgent', HTMLInputElement);
  const many = find('push-many', HTMLButtonElement);
  const result = find('result', HTMLElement);
  const curl = find('curl', HTMLElement);
  const copy = find('copy', HTMLButtonElement);
  const color = () => form.querySelector('input[name=color]:checked')?.getAttribute('value') || undefined;

  api.value = pushUrl;
  // A long command scrolls: it must be reachable by keyboard.
  curl.tabIndex = 0;

  /** @param {unknown[]} items */
  const body = (items) => {
    const to = target.value === 'all' ? { all: true } : { [target.value]: name.value };
    return JSON.stringify({ to, items, ...(urgent.checked && { urgent: true }) });
  };
  /** @param {string} text */
  const plain = (text) => (color() === undefined ? text : { text, color: color() });

  const draw = () => {
    name.disabled = target.value === 'all';
    const auth = key.value ? ` -H "Authorization: Bearer $PUSH_KEY"` : '';
    curl.textContent = `curl ${quoted(`${base(api.value)}/v1/push`)} -H 'Content-Type: application/json'${auth} -d ${quoted(body([plain(comment.value)]))}`;
  };

  /**
   * @param {string} text
   * @param {'good' | 'bad' | ''} outcome
   */
  const tell = (text, outcome) => {
    result.textContent = text;
    result.dataset.outcome = outcome;
  };

  /** @param {object} item */
  const send = async (item) => {
    const complaint = addressProblem(api.value, pushUrl);
    if (complaint) {
      tell(complaint, 'bad');
      return false;
    }
    try {
      const answer = await fetch(`${base(api.value)}/v1/push`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...(key.value && { Authorization: `Bearer ${key.value}` }) },
        body: body([item]),
      });
      const text = await answer.text();
      tell(`${answer.status} ${answer.ok ? 'accepted' : problem(text)}`, answer.ok ? 'good' : 'bad');
      return answer.ok;
    } catch {
      tell(
        `No answer from ${base(api.value)}. Check that logic is running and that logic.allowedOrigins contains ${location.origin}.`,
        'bad',
      );
      return false;
    }
  };

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void send({ text: comment.value, ...(color() && { color: color() }), at: performance.now(), by: me });
  });
  many.addEventListener('click', async () => {
    many.disabled = true;
    const colors = [...form.querySelectorAll('input[name=color]')].map(
      (input) => input.getAttribute('value') || undefined,
    );
    for (const [i, text] of SAMPLES.entries()) {
      const shade = colors[(i * 5) % colors.length];
      if (!(await send({ text, ...(shade && { color: shade }), at: performance.now(), by: me }))) break;
      await new Promise((resolve) => setTimeout(resolve, SAMPLE_PAUSE_MS));
    }
    many.disabled = false;
  });
  copy.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(curl.textContent ?? '');
      copy.textContent = 'Copied';
    } catch {
      // A page without TLS has no clipboard: the command is selected, so that the user can copy it.
      getSelection()?.selectAllChildren(curl);
      copy.textContent = 'Selected';
    }
    setTimeout(() => {
      copy.textContent = 'Copy';
    }, 1_500);
  });
  form.addEventListener('input', draw);
  draw();

  return {
    /** @param {string} room that was just joined */
    aim(room) {
      if (target.value !== 'room') return;
      name.value = room;
      draw();
    },
  };
}

/** @param {string} url */
function base(url) {
  return url.replace(/\/+$/, '');
}

/** @param {string} text for a POSIX shell */
function quoted(text) {
  return /^[\w:/.@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * Why this page can't push to `url`; undefined if it can. The page's security policy allows one push API, by a setting.
 *
 * @param {string} url
 * @param {string} allowed
 */
function addressProblem(url, allowed) {
  if (!URL.canParse(url))
    return 'Enter the URL of the push API, such as http://127.0.0.1:7799. The setting gateway.consolePushUrl sets its default.';
  const { origin } = new URL(url);
  if (origin === location.origin || (URL.canParse(allowed) && origin === new URL(allowed).origin)) return undefined;
  return `This page can push to ${allowed || 'its own gateway'} only (setting gateway.consolePushUrl). Use the curl command instead.`;
}

/** @param {string} text an RFC 9457 problem, perhaps */
function problem(text) {
  try {
    const { code, detail, title } = Object(JSON.parse(text));
    return [code, detail ?? title].filter(Boolean).join(': ');
  } catch {
    return text.slice(0, 200);
  }
}
