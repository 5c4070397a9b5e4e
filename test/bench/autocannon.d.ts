/** As far as requests.ts uses it: the package brings no types. */
declare module 'autocannon' {
  export default function autocannon(options: unknown): Promise<object>;
}
