import { describeWeightedIdentity, few } from './weighted-identity.ts';

// ggml sorts for seconds before the first block of a codebook: IQ2_S and IQ3 are here, IQ2_XXS and IQ2_XS in
// codebook.test.ts, and all types in the long tests, with all importances.
describeWeightedIdentity((type) => !/^IQ(1|2_X)/.test(type), few);
