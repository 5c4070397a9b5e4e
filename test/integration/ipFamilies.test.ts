import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';

const PROGRAM = new URL('../harness/onlyFamily.ts', import.meta.url).pathname;
const isRoot = process.getuid?.() === 0;
/** Whoever is not root is so in a namespace of their own. */
const UNSHARE = ['--net', '--mount', ...(isRoot ? [] : ['--user', '--map-root-user'])];
const possible = spawnSync('unshare', [...UNSHARE, 'true']).status === 0;
const DEADLINE_MS = 300_000;

/** One address on an interface of its own. Loopback keeps its addresses of the families that the kernel has. */
const withAddress = (address: string) => `
ip link set lo up
ip link add name own0 type veth peer name far0
ip link set far0 up
ip link set own0 up
ip address add ${address} dev own0 ${address.includes(':') ? 'nodad' : ''}
`;
const WITHOUT_IPV6 = `
mount -t proc proc /proc
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
`;

describe('with the hosts that are their default, NATS, logic and gateways serve clients', {
  skip: possible ? false : 'this user may make no network namespace (unshare --user --net): run it as root',
}, () => {
  const run = async (prepare: string, address: string): Promise<string[]> => {
    const shell = ['sh', '-ec', `${prepare}\nexec "$@"`, 'sh', process.execPath, PROGRAM, address];
    const { stdout } = await promisify(execFile)('unshare', [...UNSHARE, ...shell], { timeout: DEADLINE_MS });
    return stdout.trim().split('\n');
  };
  const both = [
    'direct: 1 item received, 1 connection by its status',
    'PROXY protocol: 1 item received, 1 connection by its status',
  ];

  it('on a machine with an IPv6 address only', async () => {
    assert.deepEqual(await run(withAddress('fd00::1/64'), 'fd00::1'), both);
  });

  it('on a machine with an IPv4 address only, and IPv6 disabled', async () => {
    assert.deepEqual(await run(`${WITHOUT_IPV6}${withAddress('10.0.0.1/24')}`, '10.0.0.1'), both);
  });
});
