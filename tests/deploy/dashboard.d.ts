// What test_grafana.py holds the dashboard against: Grafana's own types, as JSON has their values.
import type {
  Dashboard, DataQuery, FieldConfig, GraphFieldConfig, Panel, RowPanel, VariableModel,
} from "@grafana/schema";
import type { Options as StatOptions } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type { Options as SeriesOptions } from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

// A member of an enumeration is its value.
type Plain<T> = T extends string ? `${T}`
  : T extends number ? (`${T}` extends `${infer N extends number}` ? N : T)
  : T extends boolean | null | undefined ? T
  : T extends object ? { [K in keyof T]: Plain<T[K]> }
  : T;

// Prometheus's data source has its own fields in a query; they are in no package.
type Target = DataQuery & { expr: string; legendFormat: string };
type Fields<Custom> = {
  defaults: Omit<FieldConfig, "custom"> & { custom?: Custom };
  overrides: NonNullable<Panel["fieldConfig"]>["overrides"];
};
type Drawn<Kind extends string, Options, Custom> = Plain<
  Omit<Panel, "type" | "options" | "fieldConfig" | "targets"> & {
    type: Kind;
    options: Partial<Options>;
    fieldConfig: Fields<Custom>;
    targets: Target[];
  }
>;
type Variable = Plain<VariableModel> & { definition?: string };

export type Kinds = {
  row: Plain<RowPanel>;
  stat: Drawn<"stat", StatOptions, never>;
  timeseries: Drawn<"timeseries", SeriesOptions, GraphFieldConfig>;
};
export type Whole = Plain<Omit<Dashboard, "panels" | "templating">> & {
  templating: { list: Variable[] };
};
