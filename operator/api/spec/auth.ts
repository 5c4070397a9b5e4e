import { z } from 'zod';
import { ruled } from '../fields.ts';
import { origins } from './origins.ts';
import { fileRef, secretRef } from './secretRef.ts';

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
        jwksCaFrom: fileRef('auth.jwt.jwksCaFrom', 'ca.crt')
          .exactOptional()
          .describe(
            'CA certificates for the server of `jwksUrl`, in place of the public CAs. The content is reloaded without a restart, but changing the reference rolls out the gateways.',
          ),
        jwksFrom: fileRef('auth.jwt.jwksFrom', 'jwks.json')
          .exactOptional()
          .describe(
            'JSON Web Key Set for RS256 and ES256, in place of a URL. The content is reloaded without a restart, but changing the reference rolls out the gateways.',
          ),
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
        rule: '[has(self.secretRef), has(self.jwksUrl), has(self.jwksFrom)].filter(each, each).size() == 1',
        message: 'auth.jwt needs exactly one of secretRef, jwksUrl and jwksFrom',
      },
      {
        rule: 'has(self.jwksUrl) || !has(self.jwksCaFrom)',
        message: 'auth.jwt.jwksCaFrom requires jwksUrl',
        fieldPath: '.jwksCaFrom',
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
    allowedOrigins: origins('auth.allowedOrigins').describe(
      'Origins of web pages that may connect, such as `https://example.com`. `*` matches any characters. If empty, all origins are allowed.',
    ),
  }),
  {
    rule: 'has(self.jwt) || !has(self.anonymous) || self.anonymous',
    message: 'auth.anonymous is false but auth.jwt is not set: no client could connect',
    fieldPath: '.anonymous',
  },
);
