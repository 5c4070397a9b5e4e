import {
  type Dashboard,
  type DataSourceRef,
  FieldColorModeId,
  type Panel,
  ThresholdsMode,
  type VariableModel,
} from '@grafana/schema';
import type { Options as HeatMapOptions } from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen.d.ts';
import type { Options as StatOptions } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen.d.ts';
import type {
  FieldConfig as TableConfig,
  Options as TableOptions,
} from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen.d.ts';
import type {
  FieldConfig as LinesConfig,
  Options as LinesOptions,
} from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen.d.ts';

/**
 * The parts of dashboards. The types are Grafana's own (@grafana/schema), so that only valid dashboard JSON
 * type-checks.
 */

/** A type as JSON: an enum of strings becomes a union of strings. */
type Json<T> = T extends string
  ? `${T}`
  : T extends readonly (infer Each)[]
    ? Json<Each>[]
    : T extends object
      ? { [Key in keyof T]: Json<T[Key]> }
      : T;

/** One query: PromQL, and the legend of its series. */
export type Query = {
  expr: string;
  legend: string;
  /** Returns one value instead of a line; for tables. */
  instant?: true;
};

export type PanelSpec = {
  title: string;
  /** What the panel shows, and what to do if it looks bad. */
  description: string;
  /** Grafana's unit id. */
  unit: string;
  queries: readonly Query[];
  /** Columns of 24; 8 by default. */
  width?: number;
  /** Thresholds for yellow and red, in the panel's unit. */
  warns?: { at: number; bad: number };
  max?: number;
};

export type Row = { title: string; panels: readonly Panel[] };

/** The data source selected by the dashboard's variable. */
const DATA_SOURCE: DataSourceRef = { type: 'prometheus', uid: '$datasource' };
/** The schema version of Grafana 11; later versions migrate it on load. */
const SCHEMA_VERSION = 41;
const PANEL_HEIGHT = 8;
const STAT_HEIGHT = 4;
const TABLE_CELLS: Json<TableConfig> = { align: 'auto', inspect: false, cellOptions: { type: 'auto' } };

/** A time series panel. */
export function lines(spec: PanelSpec & { stacked?: true }): Panel {
  return {
    ...common(spec, 'timeseries'),
    fieldConfig: {
      defaults: {
        unit: spec.unit,
        min: 0,
        ...(spec.max === undefined ? {} : { max: spec.max }),
        color: { mode: FieldColorModeId.PaletteClassic },
        custom: {
          drawStyle: 'line',
          lineWidth: 1,
          fillOpacity: spec.stacked ? 30 : 8,
          showPoints: 'never',
          spanNulls: false,
          stacking: { mode: spec.stacked ? 'normal' : 'none', group: 'A' },
          thresholdsStyle: { mode: spec.warns ? 'dashed' : 'off' },
        } satisfies Json<LinesConfig>,
        thresholds: thresholds(spec),
      },
      overrides: [],
    },
    options: {
      legend: { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] },
      tooltip: { mode: 'multi', sort: 'desc' },
    } satisfies Json<LinesOptions>,
  };
}

/** A panel with the latest value and its history as a sparkline. */
export function number(spec: PanelSpec & { tall?: true }): Panel {
  return {
    ...common({ width: 4, ...spec }, 'stat', spec.tall ? PANEL_HEIGHT : STAT_HEIGHT),
    fieldConfig: { defaults: { unit: spec.unit, thresholds: thresholds(spec), noValue: '–' }, overrides: [] },
    options: {
      reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
      colorMode: spec.warns ? 'value' : 'none',
      graphMode: 'area',
      justifyMode: 'auto',
      orientation: 'auto',
      textMode: 'auto',
      wideLayout: true,
      showPercentChange: false,
      percentChangeColorMode: 'standard',
    } satisfies Json<StatOptions>,
  };
}

/** Buckets of a histogram over time. */
export function heatMap(spec: PanelSpec): Panel {
  const panel = common(spec, 'heatmap');
  return {
    ...panel,
    targets: (panel.targets ?? []).map((target) => ({ ...target, format: 'heatmap' })),
    fieldConfig: { defaults: {}, overrides: [] },
    options: {
      calculate: false,
      cellGap: 1,
      color: {
        mode: 'scheme',
        scheme: 'Blues',
        scale: 'exponential',
        exponent: 0.5,
        fill: 'dark-blue',
        steps: 64,
        reverse: false,
      },
      yAxis: { axisPlacement: 'left', unit: spec.unit },
      rowsFrame: { layout: 'auto' },
      tooltip: { mode: 'single', yHistogram: false },
      legend: { show: true },
      exemplars: { color: 'rgba(255,0,255,0.7)' },
      filterValues: { le: 1e-9 },
      showValue: 'never',
    } satisfies Json<HeatMapOptions>,
  };
}

/** A table with one row for each series, and one column for each label and the value. */
export function table(spec: PanelSpec & { hide?: readonly string[] }): Panel {
  const panel = common(spec, 'table');
  const hidden = ['Time', '__name__', 'job', 'instance', 'endpoint', 'container', 'service', ...(spec.hide ?? [])];
  return {
    ...panel,
    targets: (panel.targets ?? []).map((target) => ({ ...target, format: 'table', instant: true, range: false })),
    fieldConfig: {
      defaults: { unit: spec.unit, thresholds: thresholds(spec), custom: TABLE_CELLS },
      overrides: [],
    },
    options: { showHeader: true, frameIndex: 0, cellHeight: 'sm' } satisfies Json<TableOptions>,
    transformations: [
      { id: 'organize', options: { excludeByName: Object.fromEntries(hidden.map((name) => [name, true])) } },
    ],
  };
}

/** An event that is drawn as a line across all panels while `expr` is above 0. */
export type Happening = { name: string; expr: string; title: string; color: string };

export type DashboardSpec = {
  uid: string;
  title: string;
  description: string;
  variables: readonly VariableModel[];
  rows: readonly Row[];
  happenings?: readonly Happening[];
};

/** A dashboard: lays out the rows, assigns panel ids, and adds links to the other dashboards. */
export function dashboard({ uid, title, description, variables, rows, happenings = [] }: DashboardSpec): Dashboard {
  return {
    uid,
    title: `PushCluster / ${title}`,
    description,
    tags: ['pushcluster'],
    schemaVersion: SCHEMA_VERSION,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    timezone: 'browser',
    fiscalYearStartMonth: 0,
    links: [
      {
        type: 'dashboards',
        title: 'PushCluster',
        tags: ['pushcluster'],
        asDropdown: true,
        includeVars: true,
        keepTime: true,
        targetBlank: false,
        icon: 'external link',
        tooltip: '',
        url: '',
      },
    ],
    templating: { list: [dataSourceVariable(), ...variables] },
    annotations: {
      list: happenings.map(({ name, expr, title, color }) => ({
        name,
        datasource: DATA_SOURCE,
        enable: true,
        hide: false,
        iconColor: color,
        expr,
        step: '30s',
        titleFormat: title,
        useValueForTime: false,
      })),
    },
    panels: layOut(rows),
  };
}

/** A variable with all values of a label. */
export function labelVariable(name: string, label: string, query: string): VariableModel {
  return {
    type: 'query',
    name,
    label,
    datasource: DATA_SOURCE,
    query: { query, refId: name },
    refresh: 2,
    sort: 1,
    multi: true,
    includeAll: true,
    // Also matches series without this label, which exist outside Kubernetes.
    allValue: '.*',
    current: { selected: true, text: 'All', value: '$__all' },
    hide: 0,
    skipUrlSync: false,
  };
}

/** A variable with fixed values. The first one is selected. */
export function choiceVariable(name: string, label: string, choices: Readonly<Record<string, string>>): VariableModel {
  const options = Object.entries(choices).map(([text, value], i) => ({ text, value, selected: i === 0 }));
  const [{ text = '', value = '' } = {}] = options;
  return {
    type: 'custom',
    name,
    label,
    query: options.map((each) => `${each.text} : ${each.value}`).join(', '),
    options,
    current: { text, value },
    multi: false,
    includeAll: false,
    hide: 0,
    skipUrlSync: false,
  };
}

function dataSourceVariable(): VariableModel {
  return {
    type: 'datasource',
    name: 'datasource',
    label: 'Data source',
    query: 'prometheus',
    refresh: 1,
    multi: false,
    includeAll: false,
    hide: 0,
    skipUrlSync: false,
  };
}

function common(spec: PanelSpec, type: string, h = PANEL_HEIGHT): Panel {
  return {
    type,
    title: spec.title,
    description: spec.description,
    datasource: DATA_SOURCE,
    gridPos: { x: 0, y: 0, w: spec.width ?? 8, h },
    targets: spec.queries.map(({ expr, legend, instant }, i) => ({
      refId: String.fromCharCode('A'.charCodeAt(0) + i),
      datasource: DATA_SOURCE,
      expr,
      legendFormat: legend,
      editorMode: 'code',
      range: !instant,
      instant: instant ?? false,
    })),
  };
}

function thresholds({ warns }: PanelSpec) {
  const steps = [{ color: 'green', value: null }];
  if (!warns) return { mode: ThresholdsMode.Absolute, steps };
  return {
    mode: ThresholdsMode.Absolute,
    steps: [...steps, { color: 'orange', value: warns.at }, { color: 'red', value: warns.bad }],
  };
}

/** Places rows from top to bottom, and the panels of a row from left to right, on a grid of 24 columns. */
function layOut(rows: readonly Row[]): NonNullable<Dashboard['panels']> {
  const panels: NonNullable<Dashboard['panels']> = [];
  let id = 1;
  let y = 0;
  for (const row of rows) {
    panels.push({
      type: 'row',
      id: id++,
      title: row.title,
      collapsed: false,
      gridPos: { x: 0, y, w: 24, h: 1 },
      panels: [],
    });
    y += 1;
    let x = 0;
    let tallest = 0;
    for (const panel of row.panels) {
      const { w = 8, h = PANEL_HEIGHT } = panel.gridPos ?? {};
      if (x + w > 24) {
        x = 0;
        y += tallest;
        tallest = 0;
      }
      panels.push({ ...panel, id: id++, gridPos: { x, y, w, h } });
      x += w;
      tallest = Math.max(tallest, h);
    }
    y += tallest;
  }
  return panels;
}
