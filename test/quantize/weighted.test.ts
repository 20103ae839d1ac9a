import { describeWeightedIdentity, fewImportances } from './weighted-identity.ts';

// ggml sorts for ten seconds before its first IQ1 block: those are in the long tests, with all importances.
describeWeightedIdentity((type) => !type.startsWith('IQ1'), fewImportances);
