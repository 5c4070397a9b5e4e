/** The site's table of contents. A test checks that it lists every page of docs/ exactly once. */

export type Section = { title: string; pages: readonly string[] };

/** Paths from the root of the repository, in reading order. */
export const CONTENTS: readonly Section[] = [
  {
    title: 'Tutorials',
    pages: ['docs/tutorials/first-push.md', 'docs/tutorials/kubernetes.md', 'docs/tutorials/react.md'],
  },
  {
    title: 'How-to guides',
    pages: [
      'docs/how-to/install.md',
      'docs/how-to/scale.md',
      'docs/how-to/rooms-with-history.md',
      'docs/how-to/roll-out.md',
      'docs/how-to/load-balancers.md',
      'docs/how-to/upgrade.md',
      'docs/how-to/customise-pods.md',
      'docs/how-to/gitops.md',
      'docs/how-to/secure.md',
      'docs/how-to/service-mesh.md',
      'docs/how-to/monitor.md',
      'docs/how-to/debug.md',
      'docs/how-to/runbook.md',
      'docs/how-to/overload-protection.md',
      'docs/how-to/plan-capacity.md',
      'docs/how-to/tune-nodes.md',
      'docs/how-to/migrate-from-go-push.md',
    ],
  },
  {
    title: 'Reference',
    pages: [
      'docs/reference/protocol.md',
      'docs/reference/api.md',
      'docs/reference/sdk.md',
      'docs/reference/settings.md',
      'docs/reference/pushcluster.md',
      'docs/reference/changes.md',
      'docs/reference/metrics.md',
      'charts/pushcluster/README.md',
      'CHANGELOG.md',
    ],
  },
  {
    title: 'Explanation',
    pages: [
      'docs/explanation/architecture.md',
      'docs/explanation/guarantees.md',
      'docs/explanation/reliability.md',
      'docs/explanation/performance.md',
      'docs/explanation/capacity.md',
      'docs/decisions.md',
    ],
  },
  {
    title: 'Contributing',
    pages: [
      'CONTRIBUTING.md',
      'docs/contributing/development.md',
      'docs/contributing/testing-on-kubernetes.md',
      'docs/contributing/benchmarks.md',
      'docs/contributing/releasing.md',
    ],
  },
];

/** Files whose path on the site differs from their path in the repository. */
export const PLACES: Readonly<Record<string, string>> = {
  'docs/README.md': 'index.md',
  'charts/pushcluster/README.md': 'reference/chart.md',
  'CHANGELOG.md': 'reference/changelog.md',
  'CONTRIBUTING.md': 'contributing/contributing.md',
};
