/** `text`, cut to `length` characters: what strangers send ends up in answers and logs. */
export function clipped(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length).toWellFormed()}…`;
}
