import { ORIGIN_FORM, ORIGIN_PATTERN } from '@pushcluster/protocol/origins.ts';
import { z } from 'zod';
import { ruled } from '../fields.ts';

/** Patterns of origins of web pages. @param field the field as validation messages call it */
export function origins(field: string) {
  return z
    .array(
      ruled(
        z.string().min(1).max(512),
        { rule: `self.matches(r'${ORIGIN_PATTERN}')`, message: `${field} ${ORIGIN_FORM}` },
        {
          rule: "!self.matches('^[Ww][Ss][Ss]?://')",
          message: `${field} must be origins of web pages, which never begin with ws or wss: use https://`,
        },
      ),
    )
    .max(256)
    .default([]);
}
