type Labels = Record<string, string>;

/** One scrape of a process's metrics, in Prometheus' text format. */
export class Metrics {
  readonly text: string;
  readonly #series: { name: string; labels: Labels; value: number }[] = [];

  constructor(text: string) {
    this.text = text;
    for (const line of text.split('\n')) {
      const [, name, labels = '', value] = /^([a-z_]\w*)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
      if (name === undefined) continue;
      const pairs = Array.from(labels.matchAll(/(\w+)="([^"]*)"/g), ([, key, text]) => [key!, text!] as const);
      this.#series.push({ name, labels: Object.fromEntries(pairs), value: Number(value) });
    }
  }

  /** The sum of all series of `name` that have `labels`; 0 if there is none yet. Throws if the name is unknown. */
  sum(name: string, labels: Labels = {}): number {
    const wanted = Object.entries(labels);
    let sum = 0;
    for (const series of this.#series)
      if (series.name === name && wanted.every(([key, value]) => series.labels[key] === value)) sum += series.value;
    if (sum === 0 && !this.text.includes(`# HELP ${name} `)) throw new Error(`there is no metric ${name}`);
    return sum;
  }

  /** Values of the series of `name`, by the values of one label. */
  by(name: string, label: string): Map<string, number> {
    const values = new Map<string, number>();
    for (const series of this.#series) if (series.name === name) values.set(series.labels[label] ?? '', series.value);
    return values;
  }
}
