/** The part of autocannon's API that requests.ts uses; the package has no types. */
declare module 'autocannon' {
  export default function autocannon(options: unknown): Promise<object>;
}
