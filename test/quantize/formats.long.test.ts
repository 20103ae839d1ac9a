import { describeByteIdentity } from './byte-identity.ts';

describeByteIdentity({ blocks: 1024, scalarBlocks: Number.POSITIVE_INFINITY, included: () => true });
