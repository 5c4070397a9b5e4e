// `/plan/constants.js` is the gateway's, without its types.
export * from '../../../plan/constants.ts';
