import { DEFAULTS, EXAMPLES } from '@pushcluster/gateway/plan/examples.ts';
import { amount, percent } from '@pushcluster/gateway/plan/summary.ts';
import { chart } from './chart.ts';
import { type Cluster, clusterOf, type Result, type Scenario, simulate } from './simulation.ts';

/** The simulated clusters, the events, and the results as text and pictures. */

export type Run = { cluster: Named; scenario: Scenario; result: Result };
export type Named = { id: string; title: string; cluster: Cluster };

export const SCENARIOS: Record<Scenario, string> = {
  failure: 'a gateway fails',
  rollout: 'a rollout',
  storm: 'all connections are cut at once',
};

/** The two worked examples of the capacity page, and a cluster as small as those of the tests. */
export function clusters(): Named[] {
  const [million, tenMillion] = EXAMPLES;
  return [
    ...[million!, tenMillion!].map(({ id, title, inputs }) => ({ id, title, cluster: clusterOf(inputs) })),
    {
      id: 'small',
      title: 'A thousand on two gateways',
      cluster: {
        ...clusterOf({ ...DEFAULTS, people: 1_000, cores: 2 }),
        drain: { rate: 50, settle: 2_000, timeout: 60_000 },
      },
    },
  ];
}

export function runs(seed = 1): Run[] {
  return clusters().flatMap((cluster) =>
    (Object.keys(SCENARIOS) as Scenario[]).map((scenario) => ({
      cluster,
      scenario,
      result: simulate(cluster.cluster, scenario, seed),
    })),
  );
}

/** The results of all runs as one Markdown table. */
export function summary(all: readonly Run[]): string {
  const rows = all.map(({ cluster, scenario, result }) => [
    cluster.title,
    SCENARIOS[scenario],
    seconds(result.mostBack, result.cut),
    seconds(result.recovered, 1),
    `${percent(result.peakCpu)}, ${amount(result.peakConnections)}`,
    `${amount(result.peakHandshakes)}/s`,
    amount(result.refused),
    result.cut === 0 ? 'none' : `${amount(result.missedEach)} each of ${amount(result.cut)}`,
    result.moved.once + result.moved.twice + result.moved.more === 0 ? '' : movedText(result),
  ]);
  const head = [
    'cluster',
    'what happens',
    '99 % back after',
    'all well after',
    'busiest gateway: CPU, connections',
    'handshakes at most',
    'refused',
    'items missed without history',
    'moved once · twice · more',
  ];
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

export function picture({ cluster, scenario, result }: Run): string {
  const { samples } = result;
  const line = (
    name: string,
    colour: 'blue' | 'orange' | 'green',
    of: (sample: (typeof samples)[number]) => number,
  ) => ({
    name,
    colour,
    points: samples.map(of),
  });
  return chart(
    `${cluster.title}: ${SCENARIOS[scenario]}`,
    samples.map(({ at }) => at),
    [
      {
        title: 'Connections',
        lines: [
          line('all people', 'green', ({ online }) => online),
          line('gateways from before', 'blue', ({ before }) => before),
          line('new gateways', 'orange', ({ after }) => after),
        ],
      },
      {
        title: 'Handshakes a second',
        lines: [
          line('taken', 'blue', ({ handshakes }) => handshakes),
          line('refused', 'orange', ({ refused }) => refused),
        ],
      },
      {
        title: "CPU of the busiest gateway's shards",
        lines: [line('in use', 'blue', ({ busiest }) => busiest)],
        format: (value) => `${Math.round(value * 100)} %`,
      },
    ],
  );
}

/** File name of a run's picture, without a folder. */
export function fileOf({ cluster, scenario }: Run): string {
  return `simulate-${cluster.id}-${scenario}.svg`;
}

function movedText({ moved }: Result): string {
  return `${amount(moved.once)} · ${amount(moved.twice)} · ${amount(moved.more)}`;
}

function seconds(value: number, people: number): string {
  return people === 0 ? 'nobody left' : `${value} s`;
}
