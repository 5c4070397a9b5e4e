// `/plan/summary.js` is the gateway's, without its types.
export * from '../../../plan/summary.ts';
