/** A number with its noun, as messages have it: `1 gateway`, `1,204 connections`. */
export function plural(count: number, noun: string): string {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;
}
