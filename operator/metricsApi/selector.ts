/** A label selector: requirements that must all hold. */
export type Selector = readonly Requirement[];
type Requirement =
  | { key: string; is: 'in' | 'notIn'; values: readonly string[] }
  | { key: string; is: 'there' | 'missing' };

const KEY = /^(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?$/;
const VALUE = /^(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;
const SET = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/;
const EQUALITY = /^([^\s=!]+)\s*(==|=|!=)\s*(\S*)$/;

/**
 * Parses a selector in the syntax of kubectl: `a=b,c!=d,e in (f,g),h notin (i),j,!k`. An empty selector matches
 * everything.
 * @throws Error if it is invalid
 */
export function parseSelector(text: string): Selector {
  const parts = text.trim() === '' ? [] : splitOutside(text);
  return parts.map((part) => requirementOf(part.trim(), text));
}

export function matches(selector: Selector, labels: Readonly<Record<string, string>>): boolean {
  return selector.every((requirement) => holds(requirement, labels));
}

function holds(requirement: Requirement, labels: Readonly<Record<string, string>>): boolean {
  const value = Object.hasOwn(labels, requirement.key) ? labels[requirement.key] : undefined;
  switch (requirement.is) {
    case 'in':
      return value !== undefined && requirement.values.includes(value);
    case 'notIn':
      // As in Kubernetes, an object without the label matches too.
      return value === undefined || !requirement.values.includes(value);
    case 'there':
      return value !== undefined;
    case 'missing':
      return value === undefined;
  }
}

/** Splits at commas outside parentheses. */
function splitOutside(text: string): string[] {
  return text.split(/,(?![^()]*\))/);
}

function requirementOf(part: string, text: string): Requirement {
  const [, setKey, operator, list = ''] = SET.exec(part) ?? [];
  if (setKey !== undefined) {
    const values = list.split(',').map((value) => value.trim());
    return checked({ key: setKey, is: operator === 'in' ? 'in' : 'notIn', values }, text);
  }
  const [, key, sign, value = ''] = EQUALITY.exec(part) ?? [];
  if (key !== undefined) return checked({ key, is: sign === '!=' ? 'notIn' : 'in', values: [value] }, text);
  if (part.startsWith('!')) return checked({ key: part.slice(1).trim(), is: 'missing' }, text);
  return checked({ key: part, is: 'there' }, text);
}

function checked(requirement: Requirement, text: string): Requirement {
  const values = 'values' in requirement ? requirement.values : [];
  if (KEY.test(requirement.key) && values.every((value) => VALUE.test(value))) return requirement;
  throw new Error(`${JSON.stringify(text)} is not a valid label selector: use the form a=b,c!=d,e in (f,g),h,!i`);
}
