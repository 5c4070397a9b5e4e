/**
 * The shortest part of `list`, in its order, that still fails as far as removing one stretch after the other can tell
 * (delta debugging): first halves, then quarters, down to single entries.
 *
 * @param fails is known to be true for the whole list
 * @param mayGoOn asked before each part is tried: the shortest so far is returned once it is false
 */
export async function shortest<T>(
  list: readonly T[],
  fails: (part: readonly T[]) => Promise<boolean>,
  mayGoOn: () => boolean = () => true,
): Promise<T[]> {
  let failing = [...list];
  for (let size = Math.ceil(failing.length / 2); failing.length > 0 && size >= 1; ) {
    let wasShortened = false;
    for (let from = 0; from < failing.length; ) {
      if (!mayGoOn()) return failing;
      const part = failing.toSpliced(from, size);
      if (await fails(part)) {
        failing = part;
        wasShortened = true;
      } else from += size;
    }
    // Without what was removed, what failed to be removed before may be needless too.
    if (size > 1) size = Math.ceil(size / 2);
    else if (!wasShortened) break;
  }
  return failing;
}
