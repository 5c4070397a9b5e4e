import { find, make } from './find.js';
import { inputsOf, queryOf } from './plan/address.js';
import { MEASURED } from './plan/constants.js';
import { EXAMPLES } from './plan/examples.js';
import { plan } from './plan/model.js';
import { figures, shares, verdict } from './plan/summary.js';

const form = find('inputs', HTMLFormElement);
const answer = find('verdict', HTMLElement);

/** @returns {HTMLInputElement[]} */
const fields = () => [...form.querySelectorAll('input')];

/** @param {import('./plan/model.js').Inputs} inputs */
function show(inputs) {
  for (const field of fields()) {
    const value = inputs[/** @type {keyof typeof inputs} */ (field.name)];
    if (typeof value === 'boolean') field.checked = value;
    else field.value = String(value);
  }
}

/** @returns {import('./plan/model.js').Inputs} */
function read() {
  const query = new URLSearchParams();
  for (const field of fields()) query.set(field.name, field.type === 'checkbox' ? String(field.checked) : field.value);
  return inputsOf(query.toString());
}

function update() {
  for (const field of fields()) field.setAttribute('aria-invalid', String(!field.validity.valid));
  const wrong = fields().find((field) => !field.validity.valid);
  if (wrong) return refuse(`${labelOf(wrong)}: ${wrong.validationMessage}`);
  const inputs = read();
  try {
    draw(inputs);
  } catch (error) {
    refuse(error instanceof Error ? error.message : String(error));
  }
}

/** @param {import('./plan/model.js').Inputs} inputs */
function draw(inputs) {
  const planned = plan(inputs);
  answer.textContent = verdict(inputs, planned);
  answer.dataset.outcome = planned.limits.some(({ used }) => used > 1) ? 'bad' : 'good';
  find('sums', HTMLElement).replaceChildren(
    ...figures(inputs, planned).map(({ name, value, note }) => {
      const box = make('div', '', '');
      box.append(make('dt', '', name), make('dd', '', value));
      if (note) box.append(make('dd', '', note));
      return box;
    }),
  );
  find('shares', HTMLElement).replaceChildren(
    ...shares(planned).map(({ name, value, used }) => {
      const item = make('li', '', '');
      item.dataset.state = used > 1 ? 'over' : used > inputs.fill / 100 + 1e-9 ? 'full' : 'fine';
      item.append(make('span', '', name), make('span', '', value), bar(used));
      return item;
    }),
  );
  const query = queryOf(inputs);
  history.replaceState(null, '', query ? `?${query}` : location.pathname);
  for (const link of document.querySelectorAll('#examples a'))
    link.setAttribute('aria-current', String(link.getAttribute('href') === address(query)));
}

/** @param {string} reason */
function refuse(reason) {
  answer.textContent = reason;
  answer.dataset.outcome = 'bad';
  for (const id of ['sums', 'shares']) find(id, HTMLElement).replaceChildren();
}

/** @param {number} used */
function bar(used) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 100 10');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  const rect = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
  rect.setAttribute('width', String(Math.min(100, used * 100)));
  rect.setAttribute('height', '10');
  svg.append(rect);
  return svg;
}

/** @param {HTMLInputElement} field */
function labelOf(field) {
  return field.labels?.[0]?.querySelector('span')?.firstChild?.textContent?.trim() ?? field.name;
}

/** @param {string} query */
function address(query) {
  return query ? `/plan?${query}` : '/plan';
}

find('examples', HTMLElement).append(
  ...EXAMPLES.map(({ title, inputs }) => {
    const link = make('a', '', title);
    link.setAttribute('href', address(queryOf(inputs)));
    link.addEventListener('click', (event) => {
      event.preventDefault();
      show(inputs);
      update();
    });
    const item = make('li', '', '');
    item.append(link);
    return item;
  }),
);
find('constants', HTMLElement).append(
  ...Object.values(MEASURED).map(({ what, value, unit, command }) => {
    const row = make('tr', '', '');
    const cell = make('td', '', '');
    cell.append(make('code', '', command));
    row.append(make('td', '', what), make('td', '', `${value.toLocaleString('en')} ${unit}`), cell);
    return row;
  }),
);
// The table scrolls on a phone: it must be reachable by keyboard.
find('scroll', HTMLElement).tabIndex = 0;
form.addEventListener('input', update);
form.addEventListener('submit', (event) => event.preventDefault());
const share = find('share', HTMLButtonElement);
share.addEventListener('click', async () => {
  try {
    await navigator.clipboard.writeText(location.href);
    share.textContent = 'Copied';
  } catch {
    share.textContent = 'Copy it from the address bar';
  }
});
show(inputsOf(location.search.slice(1)));
update();
