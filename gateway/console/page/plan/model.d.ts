// `/plan/model.js` is the gateway's, without its types.
export * from '../../../plan/model.ts';
