import { createAccount, createOperator, createUser, type KeyPair } from '@nats-io/nkeys';

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const base64url = (value: string | Uint8Array) => Buffer.from(value).toString('base64url');

/** Subjects that a user may publish to and subscribe to; all subjects by default. */
export type Permissions = { publish: readonly string[]; subscribe: readonly string[] };

/**
 * A nats-server configuration in operator mode with one account, and .creds files for its users, like those of `nsc`.
 * @param options with `jetstream`, the account may store
 */
export function createOperatorMode({ jetstream = false } = {}): {
  config: string;
  creds(permissions?: Permissions): string;
} {
  const [operator, account, system] = [createOperator(), createAccount(), createAccount()];
  const operatorJwt = sign(operator, operator.getPublicKey(), 'operator', {});
  const limits = { subs: -1, data: -1, payload: -1, conn: -1, leaf: -1, imports: -1, exports: -1, wildcards: true };
  const storage = jetstream ? { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 } : {};
  const accountJwt = sign(operator, account.getPublicKey(), 'account', { limits: { ...limits, ...storage } });
  const systemJwt = sign(operator, system.getPublicKey(), 'account', { limits });
  return {
    // JetStream needs a system account.
    config: `operator: ${operatorJwt}\nsystem_account: ${system.getPublicKey()}\nresolver: MEMORY\nresolver_preload: { ${account.getPublicKey()}: ${accountJwt}, ${system.getPublicKey()}: ${systemJwt} }\n`,
    creds(permissions) {
      const user = createUser();
      const rights = permissions && { pub: { allow: permissions.publish }, sub: { allow: permissions.subscribe } };
      const jwt = sign(account, user.getPublicKey(), 'user', { subs: -1, data: -1, payload: -1, ...rights });
      const seed = text(user.getSeed());
      return `-----BEGIN NATS USER JWT-----\n${jwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`;
    },
  };
}

/** An NKey user: the public key for the server's configuration, the seed for the client. */
export function createNkey(): { publicKey: string; seed: string } {
  const user = createUser();
  return { publicKey: user.getPublicKey(), seed: text(user.getSeed()) };
}

function sign(issuer: KeyPair, subject: string, type: 'operator' | 'account' | 'user', claims: object): string {
  const header = base64url(JSON.stringify({ typ: 'JWT', alg: 'ed25519-nkey' }));
  const body = base64url(
    JSON.stringify({
      jti: subject,
      iat: Math.floor(Date.now() / 1000),
      iss: issuer.getPublicKey(),
      name: type,
      sub: subject,
      nats: { ...claims, type, version: 2 },
    }),
  );
  const signature = issuer.sign(new TextEncoder().encode(`${header}.${body}`));
  return `${header}.${body}.${base64url(signature)}`;
}
