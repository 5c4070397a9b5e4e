// `/plan/examples.js` is the gateway's, without its types.
export * from '../../../plan/examples.ts';
