/** HTTP load by autocannon in a process of its own. Usage: requests.ts OPTIONS (autocannon's options as JSON) */
import autocannon from 'autocannon';

process.stdin.on('close', () => process.exit(0)).resume();
process.stdout.write(`${JSON.stringify({ event: 'started' })}\n`);
const result = await autocannon(JSON.parse(process.argv[2] ?? '{}'));
process.stdout.write(`${JSON.stringify({ event: 'done', ...result })}\n`);
