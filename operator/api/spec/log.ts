import { z } from 'zod';

export const Log = z.object({
  level: z
    .enum(['debug', 'info', 'warn', 'error'])
    .default('info')
    .describe('Least severe messages that gateways and logic log.'),
});
