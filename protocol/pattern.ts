/** Whether `text` matches `pattern`: literal text with `*` for any run of characters. At most the product of both lengths in steps. */
export function matches(pattern: string, text: string): boolean {
  let p = 0;
  let t = 0;
  let star = -1;
  let resume = 0;
  while (t < text.length) {
    if (pattern[p] === '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.length && pattern[p] === text[t]) {
      p++;
      t++;
    } else if (star >= 0) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}

/** Whether there is a text that both patterns match. */
export function overlap(one: string, other: string): boolean {
  /** Whether that is so of what is left of both, by where `other` is: for one character more of `one`, and for this one. */
  let [before, now]: boolean[][] = [[], []];
  for (let i = one.length; i >= 0; i--) {
    [before, now] = [now!, []];
    for (let j = other.length; j >= 0; j--) {
      const [a, b] = [one[i], other[j]];
      // A star stands for nothing, or for what the other has here.
      if (a === '*') now[j] = before[j]! || (b !== undefined && now[j + 1]!);
      else if (b === '*') now[j] = now[j + 1]! || (a !== undefined && before[j]!);
      else now[j] = a === b && (a === undefined || before[j + 1]!);
    }
  }
  return now![0]!;
}
