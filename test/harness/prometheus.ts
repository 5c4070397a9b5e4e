import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { freePorts } from './ports.ts';
import { until } from './until.ts';

/** A scrape target: `host:port`, and the labels that service discovery would add. */
export type Target = { address: string; labels: Record<string, string> };

export type PrometheusOptions = {
  targets?: readonly Target[];
  /** Content of `scrape_configs`, instead of `targets`. */
  scrapeConfigs?: readonly object[];
  /** Text of a rules file. */
  rules?: string;
  /** Seconds between scrapes, and between evaluations of rules. */
  interval?: number;
  /** Path of the program; Debian's by default. */
  program?: string;
};

/** One series with its samples: seconds of Unix time, and a value. */
export type Series = { labels: Record<string, string>; points: { at: number; value: number }[] };
export type FiringAlert = { name: string; state: 'pending' | 'firing'; labels: Record<string, string> };

const sample = z.tuple([z.number(), z.string()]);
const labels = z.record(z.string(), z.string());
const answered = <T extends z.ZodType>(data: T) => z.object({ status: z.literal('success'), data });
const Answer = {
  query: answered(
    z.discriminatedUnion('resultType', [
      z.object({ resultType: z.literal('vector'), result: z.array(z.object({ metric: labels, value: sample })) }),
      z.object({
        resultType: z.literal('matrix'),
        result: z.array(z.object({ metric: labels, values: z.array(sample) })),
      }),
      z.object({ resultType: z.literal('scalar'), result: sample }),
    ]),
  ),
  alerts: answered(z.object({ alerts: z.array(z.object({ labels, state: z.enum(['pending', 'firing']) })) })),
  targets: answered(z.object({ activeTargets: z.array(z.object({ health: z.string(), lastError: z.string() })) })),
  values: answered(z.array(z.string())),
};

/** A real Prometheus on loopback. Stop it at the end of the test. */
export class Prometheus {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #afterwards: (() => Promise<void>)[] = [];
  #output = '';

  constructor(child: ChildProcess, port: number, folder: string) {
    this.url = `http://127.0.0.1:${port}`;
    this.#child = child;
    this.#folder = folder;
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
      });
    running.add(child);
    child.once('exit', () => running.delete(child));
  }

  /**
   * Waits until Prometheus answers and has scraped all or some targets. Use `some` with discovery: discovered targets
   * may be terminating.
   */
  async ready(which: 'all' | 'some' = 'all'): Promise<void> {
    let problem = '';
    await until('Prometheus has scraped all targets', async () => {
      if (this.#child.exitCode !== null) throw new Error(`Prometheus ended at its start:\n${this.#output}`);
      try {
        const { activeTargets } = await this.#get('/api/v1/targets', {}, Answer.targets);
        problem = activeTargets.find(({ health }) => health !== 'up')?.lastError ?? '';
        const up = activeTargets.filter(({ health }) => health === 'up').length;
        return up > 0 && (which === 'some' || up === activeTargets.length);
      } catch (error) {
        problem = String(error);
        return false;
      }
    }).catch((error: Error) => {
      throw new Error(`${error.message}: ${problem}\n${this.#output.slice(-2_000)}`);
    });
  }

  /**
   * The value of each series of a query.
   * @param at seconds of Unix time; now by default
   */
  async query(expr: string, at?: number): Promise<Series[]> {
    const data = await this.#get(
      '/api/v1/query',
      { query: expr, ...(at === undefined ? {} : { time: `${at}` }) },
      Answer.query,
    );
    return seriesOf(data);
  }

  /** A range query, as a panel makes it. All arguments are seconds. */
  async range(expr: string, { from, to, step }: { from: number; to: number; step: number }): Promise<Series[]> {
    const asked = { query: expr, start: `${from}`, end: `${to}`, step: `${step}` };
    return seriesOf(await this.#get('/api/v1/query_range', asked, Answer.query));
  }

  async alerts(): Promise<FiringAlert[]> {
    const { alerts } = await this.#get('/api/v1/alerts', {}, Answer.alerts);
    return alerts.map(({ labels, state }) => ({ name: labels.alertname ?? '', state, labels }));
  }

  /** Values of a label among the series of a selector. */
  labelValues(label: string, selector: string): Promise<string[]> {
    return this.#get(`/api/v1/label/${label}/values`, { 'match[]': selector }, Answer.values);
  }

  /** Adds a cleanup that runs after Prometheus has ended. */
  onStop(work: () => Promise<void>): void {
    this.#afterwards.push(work);
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGKILL');
      await ended;
    }
    await rm(this.#folder, { recursive: true, force: true });
    for (const work of this.#afterwards) await work();
  }

  /** Throws with Prometheus' error message if Prometheus refuses the query. */
  async #get<T>(path: string, query: Record<string, string>, answer: z.ZodType<{ data: T }>): Promise<T> {
    const response = await fetch(`${this.url}${path}?${new URLSearchParams(query)}`);
    const text = await response.text();
    if (!response.ok) throw new Error(`Prometheus answered ${response.status} to ${query.query ?? path}: ${text}`);
    return answer.parse(JSON.parse(text)).data;
  }
}

/** Starts Prometheus and waits until it has scraped all targets. */
export async function startPrometheus(options: PrometheusOptions): Promise<Prometheus> {
  const { targets = [], rules = '', interval = 1, program = 'prometheus' } = options;
  const folder = await mkdtemp(join(tmpdir(), 'pushcluster-prometheus-'));
  const [port = 0] = await freePorts(1);
  const config = {
    global: { scrape_interval: `${interval}s`, scrape_timeout: `${interval}s`, evaluation_interval: `${interval}s` },
    rule_files: rules === '' ? [] : ['rules.yml'],
    scrape_configs: options.scrapeConfigs ?? [
      {
        job_name: 'pushcluster',
        static_configs: targets.map(({ address, labels }) => ({ targets: [address], labels })),
      },
    ],
  };
  // JSON is valid YAML.
  await writeFile(join(folder, 'prometheus.yml'), JSON.stringify(config));
  await writeFile(join(folder, 'rules.yml'), rules);
  const child = spawn(
    program,
    [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const prometheus = new Prometheus(child, port, folder);
  try {
    await prometheus.ready(options.scrapeConfigs ? 'some' : 'all');
  } catch (error) {
    await prometheus.stop();
    throw error;
  }
  return prometheus;
}

function seriesOf(data: z.infer<typeof Answer.query>['data']): Series[] {
  const point = ([at, value]: [number, string]) => ({ at, value: Number(value.replace(/^([+-]?)Inf$/, '$1Infinity')) });
  switch (data.resultType) {
    case 'vector':
      return data.result.map(({ metric, value }) => ({ labels: metric, points: [point(value)] }));
    case 'matrix':
      return data.result.map(({ metric, values }) => ({ labels: metric, points: values.map(point) }));
    case 'scalar':
      return [{ labels: {}, points: [point(data.result)] }];
  }
}

/** Killed when the test's process exits, for whatever reason. */
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
