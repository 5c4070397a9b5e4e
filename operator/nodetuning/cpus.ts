/** A set of CPUs: bit 3 is CPU 3. */
export type Bitmap = bigint;

/** Parses the hexadecimal form of the kernel, in groups of eight digits: `0000000f,ffffffff`. @throws Error */
export function bitmap(hex: string): Bitmap {
  const digits = hex.replaceAll(',', '');
  if (!/^[0-9a-f]+$/i.test(digits)) throw new Error(`"${hex}" is not a set of CPUs`);
  return BigInt(`0x${digits}`);
}

/** The hexadecimal form without leading zeros. */
export function hexOf(cpus: Bitmap): string {
  const digits = cpus.toString(16);
  const whole = digits.padStart(Math.ceil(digits.length / 8) * 8, '0');
  return whole
    .match(/.{8}/g)!
    .join(',')
    .replace(/^0+(?=[0-9a-f])/, '');
}

/** Parses a list such as `0-3,8`. @throws Error */
export function cpuNumbers(list: string): number[] {
  return list.split(',').flatMap((part) => {
    const [first, last = first] = part.split('-').map(Number);
    if (first === undefined || last === undefined || !(first <= last))
      throw new Error(`"${list}" is not a list of CPUs`);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

export function bitmapOf(numbers: readonly number[]): Bitmap {
  return numbers.reduce((cpus, number) => cpus | (1n << BigInt(number)), 0n);
}
