/** Bytes of an answer at most. */
const MAX_BYTES = 1024 * 1024;
/** Time that one fetch may take, milliseconds. */
const FETCH_TIMEOUT_MS = 5_000;

/** The text at `url`. Rejects with an Error whose message is the predicate of a sentence. Redirects are not followed: nobody configured their target. */
export async function fetchJwks(url: string): Promise<string> {
  const signal = AbortSignal.timeout(FETCH_TIMEOUT_MS);
  try {
    const headers = { accept: 'application/json, application/jwk-set+json' };
    const { status, body } = await fetch(url, { redirect: 'manual', signal, headers });
    if (status === 200) return await textOf(body);
    await body?.cancel();
    throw new Error(`is answered with ${status}${status >= 300 && status < 400 ? ': redirects are not followed' : ''}`);
  } catch (error) {
    if (signal.aborted) throw new Error(`did not arrive within ${FETCH_TIMEOUT_MS / 1_000} s`);
    // The message of fetch's own error says only that it failed. Its cause says why.
    const cause = error instanceof TypeError && error.cause instanceof Error ? error.cause : undefined;
    if (cause) throw new Error(`can't be fetched: ${cause.message || cause.name}`, { cause: error });
    throw error;
  }
}

async function textOf(body: ReadableStream<Uint8Array> | null): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body ?? []) {
    size += chunk.byteLength;
    if (size > MAX_BYTES) throw new Error(`is larger than ${MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
