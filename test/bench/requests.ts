/** HTTP load by autocannon in a process of its own. Its options come as one line of JSON on standard input. */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import autocannon from 'autocannon';

const lines = createInterface(process.stdin).on('close', () => process.exit(0));
const [options] = await once(lines, 'line');
process.stdout.write(`${JSON.stringify({ event: 'started' })}\n`);
const result = await autocannon(JSON.parse(options));
process.stdout.write(`${JSON.stringify({ event: 'done', ...result })}\n`);
