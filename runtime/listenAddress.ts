import { networkInterfaces } from 'node:os';

/** Stands for all addresses of the machine, of IPv6 and IPv4. The default of every host in settings and options. */
export const ALL_ADDRESSES = '::';
const ALL_OF_IPV4 = '0.0.0.0';

/**
 * The address to bind for `host`. `::` accepts clients of both families; an IPv4 client then has an address such as
 * `::ffff:10.0.0.1`. On a machine without IPv6, where the kernel may refuse `::`, it is `0.0.0.0`. Any other host is
 * bound as it is.
 */
export function listenAddress(host: string, hasIpv6: () => boolean = machineHasIpv6): string {
  return host === ALL_ADDRESSES && !hasIpv6() ? ALL_OF_IPV4 : host;
}

/** Loopback counts: a kernel with IPv6 gives it `::1`. */
function machineHasIpv6(): boolean {
  return Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ family }) => family === 'IPv6'));
}
