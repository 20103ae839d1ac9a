import { describeWeightedIdentity, few } from './weighted-identity.ts';

// ggml sorts for seconds before the first block of a codebook: IQ3 is here, IQ2_XXS and IQ2_XS in codebook.test.ts, and
// all types in the long tests, with all importances. Of IQ2_S, for which it sorts longest, the kernel is held to its twin.
describeWeightedIdentity((type) => !/^IQ(1|2_X)/.test(type), {
  ...few,
  judged: (type) => type !== 'IQ2_S',
});
