import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Host } from './host.ts';

/** Files of a node in a temporary folder, for tests. No kernel is involved. */
export class FakeNode {
  readonly root = mkdtempSync(join(tmpdir(), 'pushcluster-node-'));
  readonly host: Host;
  readonly record = join(this.root, 'record');
  /** Lists its interfaces like /proc/self/net. */
  readonly net = join(this.root, 'net');
  /** A program like ethtool, which reads ring sizes from a file. */
  readonly ethtool = join(this.root, 'ethtool');

  /** @param cpus number of online CPUs */
  constructor({ cpus = 4, memory = 16 * 1024 ** 3 }: { cpus?: number; memory?: number } = {}) {
    this.write('proc/sys/kernel/random/boot_id', 'boot-1\n');
    this.write('sys/devices/system/cpu/online', cpus === 1 ? '0\n' : `0-${cpus - 1}\n`);
    mkdirSync(join(this.root, 'sys/class/net'), { recursive: true });
    this.write('ethtool', ETHTOOL);
    chmodSync(this.ethtool, 0o755);
    this.write('net/dev', 'Inter-|   Receive\n face |bytes\n');
    this.host = new Host({ root: this.root, ethtool: this.ethtool, net: this.net, memory });
  }

  /** Sets sysctls by name. */
  sysctls(values: Record<string, string>): void {
    for (const [name, value] of Object.entries(values)) this.write(sysctlPath(name), `${value}\n`);
  }

  sysctl(name: string): string {
    return this.read(sysctlPath(name));
  }

  /** Adds a network interface. It is physical with `card` or `rings`. */
  device(
    name: string,
    { rx = 1, tx = 1, card = false, rings }: { rx?: number; tx?: number; card?: boolean; rings?: string } = {},
  ): void {
    const folder = `sys/devices/${card || rings !== undefined ? 'pci0000:00' : 'virtual'}/net/${name}`;
    for (let queue = 0; queue < rx; queue++) this.write(`${folder}/queues/rx-${queue}/rps_cpus`, '0\n');
    for (let queue = 0; queue < tx; queue++) this.write(`${folder}/queues/tx-${queue}/xps_cpus`, '00000000\n');
    appendFileSync(join(this.net, 'dev'), `  ${name}: 0 0\n`);
    symlinkSync(join(this.root, folder), join(this.root, 'sys/class/net', name));
    if (rings !== undefined) this.write(`rings-${name}`, `${rings}\n`);
  }

  write(path: string, text: string): void {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    writeFileSync(join(this.root, path), text);
  }

  read(path: string): string {
    return readFileSync(join(this.root, path), 'utf8').trim();
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}

function sysctlPath(name: string): string {
  return `proc/sys/${name.replaceAll('.', '/')}`;
}

/**
 * The file `rings-NAME` has the maximum and current size of the rx ring, then of the tx ring. Output as of ethtool 6.1.
 */
const ETHTOOL = `#!/bin/sh
file="$(dirname "$0")/rings-$2"
if [ ! -e "$file" ]; then echo 'netlink error: Operation not supported' >&2; exit 81; fi
read most_rx rx most_tx tx <"$file"
case "$1" in
  -g) printf 'Ring parameters for %s:\\nPre-set maximums:\\nRX:\\t\\t%s\\nRX Mini:\\tn/a\\nRX Jumbo:\\tn/a\\nTX:\\t\\t%s\\nCurrent hardware settings:\\nRX:\\t\\t%s\\nRX Mini:\\tn/a\\nRX Jumbo:\\tn/a\\nTX:\\t\\t%s\\n' "$2" $most_rx $most_tx $rx $tx ;;
  -G) case "$3" in rx) rx=$4 ;; tx) tx=$4 ;; esac; echo "$most_rx $rx $most_tx $tx" >"$file" ;;
esac
`;
