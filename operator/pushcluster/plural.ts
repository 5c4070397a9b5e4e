/** A number with its noun, as messages have it: `1 gateway`, `1,204 connections`. */
export function plural(count: number, noun: string): string {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;
}

/** Some of a number of things, as messages have it: `0 of 1 gateways`, `2 of 3 NATS servers`. */
export function someOf(count: number, all: number, noun: string): string {
  return `${count.toLocaleString('en')} of ${all.toLocaleString('en')} ${noun}s`;
}
