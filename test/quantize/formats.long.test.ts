import { BLOCKS, describeByteIdentity } from './byte-identity.ts';

describeByteIdentity({ scalarBlocks: BLOCKS });
