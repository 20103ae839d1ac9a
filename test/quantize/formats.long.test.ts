import { describeByteIdentity } from './byte-identity.ts';

describeByteIdentity({ scalarBlocks: Number.POSITIVE_INFINITY, included: () => true });
