/**
 * The wire forms of a frame. Each batch is encoded at most once for each form that has a listener, and all its
 * listeners get the same bytes. The table below is the only place that knows what a form is: hub and shards go by it.
 */

/** The subprotocols of `GET /connect`. A client that offers none of them speaks as go-push clients do. */
export const Subprotocol = { v1: 'pushcluster.v1', deflate: 'pushcluster.v1.deflate' } as const;

/** Each form is one bit, so that a set of forms is a mask. The bit's number is the form's index in WIRE_FORMS. */
export const Form = { plain: 1, v1: 2, deflate: 4 } as const;
export type Form = (typeof Form)[keyof typeof Form];

/** Frames below this many bytes stay text in a compressed form: compressing them saves nothing. */
export const DEFLATE_MIN_BYTES = 256;

export type WireForm = {
  form: Form;
  /** What a client offers to get this form; undefined for go-push's, which has none. */
  subprotocol: string | undefined;
  /** PUSH frames carry `ids`, and `user` where the items were pushed to a user. */
  hasIds: boolean;
  /** Frames of DEFLATE_MIN_BYTES or more are raw DEFLATE (RFC 1951) in a binary frame. */
  compressed: boolean;
  /** The client understands LAGGED, RECONNECT and LEAVE, and reads why a handshake was refused from a close code. */
  understandsControl: boolean;
};

/** All forms, by index. The index is also the place of a form's group in a shard's channel. */
export const WIRE_FORMS: readonly WireForm[] = [
  { form: Form.plain, subprotocol: undefined, hasIds: false, compressed: false, understandsControl: false },
  { form: Form.v1, subprotocol: Subprotocol.v1, hasIds: true, compressed: false, understandsControl: true },
  { form: Form.deflate, subprotocol: Subprotocol.deflate, hasIds: true, compressed: true, understandsControl: true },
];

const SUBPROTOCOLS = subprotocolsWhere(() => true);
const UNCOMPRESSED_SUBPROTOCOLS = subprotocolsWhere(({ compressed }) => !compressed);
const UNDERSTAND_CONTROL = WIRE_FORMS.reduce((mask, wire) => (wire.understandsControl ? mask | wire.form : mask), 0);

/** The form's index in WIRE_FORMS. */
export function formIndex(form: Form): number {
  return 31 - Math.clz32(form);
}

/** The form of a connection with this subprotocol: go-push's without one. */
export function formOf(subprotocol: string | undefined): Form {
  return WIRE_FORMS.find((wire) => wire.subprotocol === subprotocol)?.form ?? Form.plain;
}

/** Whether clients of this form understand LAGGED, RECONNECT and LEAVE, and close codes after a refused handshake. */
export function understandsControl(form: Form): boolean {
  return (form & UNDERSTAND_CONTROL) !== 0;
}

/** The subprotocols that a gateway accepts. @param compression gateway.batching.compression */
export function servedSubprotocols(compression: boolean): readonly string[] {
  return compression ? SUBPROTOCOLS : UNCOMPRESSED_SUBPROTOCOLS;
}

function subprotocolsWhere(served: (wire: WireForm) => boolean): string[] {
  return WIRE_FORMS.filter(served).flatMap(({ subprotocol }) => subprotocol ?? []);
}
