import { describeWholeFiles } from './whole-files.ts';

// One type of each coding, and mixtures: of the others test/pipeline/manifest.test.ts has the hashes.
describeWholeFiles([
  'F16',
  'Q8_0',
  'Q4_0',
  'Q5_1',
  'Q2_0',
  'Q2_K',
  'Q3_K_L',
  'Q4_K_M',
  'IQ3_M',
  'IQ4_XS',
  'TQ1_0',
]);
