// `/sdk.js` is the SDK's bundle.
export * from '@pushcluster/client/index.ts';
