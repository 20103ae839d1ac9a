import { describeWeightedIdentity } from './weighted-identity.ts';

describeWeightedIdentity((type) => type.startsWith('IQ1'));
