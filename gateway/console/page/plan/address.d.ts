// `/plan/address.js` is the gateway's, without its types.
export * from '../../../plan/address.ts';
