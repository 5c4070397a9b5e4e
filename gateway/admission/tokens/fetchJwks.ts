import { readFile } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { get as getSecure, type RequestOptions } from 'node:https';

/** Bytes of an answer at most. */
const MAX_BYTES = 1024 * 1024;
/** Time that one fetch may take, milliseconds. */
const FETCH_TIMEOUT_MS = 5_000;

/** The answer is of no use. The message is the predicate of a sentence. */
class UnusableAnswer extends Error {}

/**
 * The text at `url`. Rejects with an Error whose message is the predicate of a sentence. Redirects are not followed: nobody
 * configured their target.
 * @param caFile PEM file with the authorities to trust in place of the public ones; read at each call
 */
export async function fetchJwks(url: string, caFile?: string): Promise<string> {
  const signal = AbortSignal.timeout(FETCH_TIMEOUT_MS);
  try {
    const trusted = caFile === undefined ? {} : { ca: await readFile(caFile) };
    const answer = await answerOf(url, { ...trusted, signal, agent: false });
    const { statusCode: status = 0 } = answer;
    if (status === 200) return await textOf(answer);
    answer.destroy();
    throw new UnusableAnswer(
      `is answered with ${status}${status >= 300 && status < 400 ? ': redirects are not followed' : ''}`,
    );
  } catch (error) {
    if (signal.aborted) throw new Error(`did not arrive within ${FETCH_TIMEOUT_MS / 1_000} s`);
    if (error instanceof UnusableAnswer || !(error instanceof Error)) throw error;
    // Where a name has several addresses, the error of all of them has no message.
    throw new Error(`can't be fetched: ${error.message || Reflect.get(error, 'code') || error.name}`, { cause: error });
  }
}

function answerOf(url: string, options: RequestOptions): Promise<IncomingMessage> {
  const headers = { accept: 'application/json, application/jwk-set+json' };
  return new Promise((resolve, reject) => {
    const start = url.startsWith('https:') ? getSecure : get;
    start(url, { ...options, headers }, resolve).on('error', reject);
  });
}

async function textOf(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer) {
    size += chunk.length;
    if (size > MAX_BYTES) throw new UnusableAnswer(`is larger than ${MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
