/** How large a run is. */
export type Scale = {
  quick: boolean;
  connections: number;
  /** Interleaved pairs of ours and what it is measured against; the median counts. */
  pairs: number;
  /** Seconds of one measurement. */
  seconds: number;
  /** Says on standard error what happens. */
  progress: (text: string) => void;
};
