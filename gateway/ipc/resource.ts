/** What a gateway can run out of before it runs out of connections that it may hold. */
export const RESOURCES = ['memory', 'fds', 'loop'] as const;
export type Resource = (typeof RESOURCES)[number];
