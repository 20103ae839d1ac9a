import { describeWeightedIdentity } from './weighted-identity.ts';

describeWeightedIdentity(() => true);
