/** The reference for logic's API: a fastify route that parses the same body and answers 202. Prints its port. */
import fastify from 'fastify';

const app = fastify();
app.post('/v1/push', (_request, reply) => {
  reply.code(202);
  return { accepted: 1 };
});
await app.listen({ host: '127.0.0.1', port: 0 });
const address = app.server.address();
if (address === null || typeof address === 'string') throw new Error('the bare route has no port');
process.stdout.write(`${JSON.stringify({ event: 'listening', port: address.port })}\n`);
process.stdin.on('close', () => process.exit(0)).resume();
