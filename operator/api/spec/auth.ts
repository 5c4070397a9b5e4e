import { ORIGIN_FORM, ORIGIN_PATTERN } from '@pushcluster/protocol/origins.ts';
import { z } from 'zod';
import { ruled } from '../fields.ts';
import { secretRef } from './secretRef.ts';

export const Auth = ruled(
  z.object({
    jwt: ruled(
      z.object({
        secretRef: secretRef('secret')
          .exactOptional()
          .describe('HS256: where the secrets are, one a line: two lines are two valid secrets, for rotation.'),
        jwksUrl: ruled(z.string().max(2_048), {
          rule: "isURL(self) && url(self).getScheme() in ['http', 'https']",
          message: 'auth.jwt.jwksUrl must be a URL such as https://id.example.com/.well-known/jwks.json',
        })
          .exactOptional()
          .describe('RS256 and ES256: where the JWKS is.'),
        audience: z.string().min(1).max(512).exactOptional().describe('Tokens must be for it.'),
        issuer: z.string().min(1).max(512).exactOptional().describe('Tokens must be by it.'),
      }),
      {
        rule: 'has(self.secretRef) != has(self.jwksUrl)',
        message: 'auth.jwt needs exactly one of secretRef and jwksUrl',
      },
    )
      .exactOptional()
      .describe('Tokens of connections: `sub` is the user, `rooms` the room patterns that it may join.'),
    anonymous: z
      .boolean()
      .exactOptional()
      .describe('Whether connections without a token are allowed. Absent: only where no `jwt` is set.'),
    allowedOrigins: z
      .array(
        ruled(
          z.string().min(1).max(512),
          { rule: `self.matches(r'${ORIGIN_PATTERN}')`, message: `auth.allowedOrigins ${ORIGIN_FORM}` },
          {
            rule: "!self.matches('^[Ww][Ss][Ss]?://')",
            message: 'auth.allowedOrigins must be origins of pages, which are never ws or wss: write https://',
          },
        ),
      )
      .max(256)
      .default([])
      .describe('Origins whose pages may connect, with `*` for any run of characters. Empty: any.'),
  }),
  {
    rule: 'has(self.jwt) || !has(self.anonymous) || self.anonymous',
    message: 'auth.anonymous is false but there is no auth.jwt: nobody could connect',
    fieldPath: '.anonymous',
  },
);
