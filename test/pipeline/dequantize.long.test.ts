import { describeDecoding, floats } from '../support/gguf-inputs.ts';
import { GgufRuns } from '../support/gguf-runs.ts';
import { temporaryDirectory } from '../support/temporary.ts';

/** Every kind of coding to every float. */
describeDecoding(
  new GgufRuns(temporaryDirectory()),
  ['Q8_0', 'Q4_K_M', 'Q2_K', 'TQ1_0', 'IQ4_XS'].flatMap((from) => floats.map((to) => [from, to] as const)),
);
