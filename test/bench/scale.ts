/** The size of a run. */
export type Scale = {
  quick: boolean;
  connections: number;
  /** Number of interleaved pairs of measurements (product and reference); the median counts. */
  pairs: number;
  /** Seconds of one measurement. */
  seconds: number;
  /** Reports progress on standard error. */
  progress: (text: string) => void;
};
