import { DEFAULTS } from './examples.ts';
import type { Inputs } from './model.ts';

/** The inputs of a plan in the address of /plan, so that it can be shared. Only inputs that differ from the defaults are in it. */

/** The query of an address, without `?`. */
export function queryOf(inputs: Inputs): string {
  const query = new URLSearchParams();
  for (const name of NAMES) if (inputs[name] !== DEFAULTS[name]) query.set(name, String(inputs[name]));
  return query.toString();
}

/** The inputs of an address. An input that is missing or no number has its default. */
export function inputsOf(query: string): Inputs {
  const given = new URLSearchParams(query);
  const number = (name: Exclude<keyof Inputs, 'compression'>) => {
    const text = given.get(name)?.trim();
    const value = text ? Number(text) : Number.NaN;
    return Number.isFinite(value) ? value : DEFAULTS[name];
  };
  return {
    people: number('people'),
    rooms: number('rooms'),
    rate: number('rate'),
    itemBytes: number('itemBytes'),
    window: number('window'),
    compression: given.has('compression') ? given.get('compression') === 'true' : DEFAULTS.compression,
    cores: number('cores'),
    line: number('line'),
    memory: number('memory'),
    packets: number('packets'),
    natsServers: number('natsServers'),
    natsCores: number('natsCores'),
    fill: number('fill'),
  };
}

const NAMES = Object.keys(DEFAULTS) as (keyof Inputs)[];
