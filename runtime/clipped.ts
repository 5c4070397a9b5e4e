/** `text`, cut to `length` characters: for responses and logs that contain what clients sent. */
export function clipped(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length).toWellFormed()}…`;
}
