import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  Form,
  formIndex,
  formOf,
  Subprotocol,
  servedSubprotocols,
  understandsControl,
  WIRE_FORMS,
} from './wireForms.ts';

describe('the table of wire forms', () => {
  it('has each form at the index of its bit', () => {
    assert.deepEqual(
      WIRE_FORMS.map(({ form }) => form),
      Object.values(Form),
    );
    for (const [index, { form }] of WIRE_FORMS.entries()) {
      assert.equal(form, 1 << index);
      assert.equal(formIndex(form), index);
    }
  });

  it('finds the form of a subprotocol, and go-push’s without one', () => {
    assert.equal(formOf(undefined), Form.plain);
    assert.equal(formOf(Subprotocol.v1), Form.v1);
    assert.equal(formOf(Subprotocol.deflate), Form.deflate);
  });

  it('knows which clients understand control frames', () => {
    for (const { form, understandsControl: expected } of WIRE_FORMS) assert.equal(understandsControl(form), expected);
    assert.equal(understandsControl(Form.plain), false);
    assert.equal(understandsControl(Form.deflate), true);
  });

  it('serves compressed forms only where compression is on', () => {
    assert.deepEqual(servedSubprotocols(true), [Subprotocol.v1, Subprotocol.deflate]);
    assert.deepEqual(servedSubprotocols(false), [Subprotocol.v1]);
  });
});
