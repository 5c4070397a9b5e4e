/** A gateway that has left the Service, or is about to, and accepts connections. */
export type LeavingGateway = { name: string; uid: string; node: string; addresses: readonly string[] };

/** A gateway pod that is not terminating. */
export type GatewayPod = {
  uid: string;
  name: string;
  /** It has the current pod template. */
  isCurrent: boolean;
  isReady: boolean;
  /** Since when it is ready, milliseconds since 1970, to the second; undefined if it is not. */
  readySince: number | undefined;
  /** Pending: no container was started yet. Stopped: none is running. Neither holds connections. */
  state: 'pending' | 'running' | 'stopped';
  /** The Service selects it. */
  isServing: boolean;
  /** Since when it is draining, milliseconds since 1970. */
  drainSince: number | undefined;
  /** The annotation `controller.kubernetes.io/pod-deletion-cost`. */
  deletionCost: number | undefined;
  /** Its connections, and when they were reported, milliseconds since 1970; undefined if they are unknown. */
  counted: { connections: number; at: number } | undefined;
  /** Since when its connections are unknown although it is ready, milliseconds since 1970. */
  unknownSince: number | undefined;
  /** Whether it reports far more connections than others; undefined if it does not report that. */
  isFuller: boolean | undefined;
  /** It was polled, successfully or not. */
  isAsked: boolean;
  /** It did not respond when it was last polled. */
  isSilent: boolean;
};
