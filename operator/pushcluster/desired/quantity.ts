const QUANTITY = /^\+?((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)([A-Za-z]*)$/;

const FACTORS = new Map<string, number>(
  Object.entries({
    n: 1e-9,
    u: 1e-6,
    m: 1e-3,
    '': 1,
    k: 1e3,
    M: 1e6,
    G: 1e9,
    T: 1e12,
    P: 1e15,
    E: 1e18,
    Ki: 2 ** 10,
    Mi: 2 ** 20,
    Gi: 2 ** 30,
    Ti: 2 ** 40,
    Pi: 2 ** 50,
    Ei: 2 ** 60,
  }),
);

/** The value of a Kubernetes quantity such as `500m`, `2` or `1e3`; 0 if it is invalid. */
export function amountOf(quantity: number | string): number {
  const [, amount, suffix = ''] = QUANTITY.exec(String(quantity)) ?? [];
  const factor = FACTORS.get(suffix);
  return amount === undefined || factor === undefined ? 0 : Number(amount) * factor;
}
