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
          .describe(
            'Secret with the key for HS256. Each line of the value is a valid key; use two lines while you rotate keys. The content is reloaded without a restart, but changing the reference rolls out the gateways.',
          ),
        jwksUrl: ruled(z.string().max(2_048), {
          rule: "isURL(self) && url(self).getScheme() in ['http', 'https']",
          message: 'auth.jwt.jwksUrl must be a URL such as https://id.example.com/.well-known/jwks.json',
        })
          .exactOptional()
          .describe('URL of the JSON Web Key Set for RS256 and ES256.'),
        audience: z
          .string()
          .min(1)
          .max(512)
          .exactOptional()
          .describe('Required audience (`aud`) of tokens. If not set, any is accepted.'),
        issuer: z
          .string()
          .min(1)
          .max(512)
          .exactOptional()
          .describe('Required issuer (`iss`) of tokens. If not set, any is accepted.'),
      }),
      {
        rule: 'has(self.secretRef) != has(self.jwksUrl)',
        message: 'auth.jwt needs exactly one of secretRef and jwksUrl',
      },
    )
      .exactOptional()
      .describe(
        'Verification of JSON Web Tokens that clients connect with. The claim `sub` is the user; `rooms` lists the rooms that the client may join, with `*` for any characters.',
      ),
    anonymous: z
      .boolean()
      .exactOptional()
      .describe('Whether clients may connect without a token. Defaults to true if `jwt` is not set, otherwise false.'),
    allowedOrigins: z
      .array(
        ruled(
          z.string().min(1).max(512),
          { rule: `self.matches(r'${ORIGIN_PATTERN}')`, message: `auth.allowedOrigins ${ORIGIN_FORM}` },
          {
            rule: "!self.matches('^[Ww][Ss][Ss]?://')",
            message: 'auth.allowedOrigins must be origins of web pages, which never begin with ws or wss: use https://',
          },
        ),
      )
      .max(256)
      .default([])
      .describe(
        'Origins of web pages that may connect, such as `https://example.com`. `*` matches any characters. If empty, all origins are allowed.',
      ),
  }),
  {
    rule: 'has(self.jwt) || !has(self.anonymous) || self.anonymous',
    message: 'auth.anonymous is false but auth.jwt is not set: no client could connect',
    fieldPath: '.anonymous',
  },
);
