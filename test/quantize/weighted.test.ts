import { describeWeightedIdentity, few } from './weighted-identity.ts';

// ggml sorts for seconds before the first block of a codebook. Here that is IQ2_S and IQ3, in codebook.test.ts IQ2_XXS and IQ2_XS;
// the long tests have all types, with all importances.
describeWeightedIdentity((type) => !/^IQ(1|2_X)/.test(type), few);
