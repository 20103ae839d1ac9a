import { describeGgufInputs, writtenAlone } from '../support/gguf-inputs.ts';
import { GgufRuns } from '../support/gguf-runs.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const golden = '../shared/golden/visible';

/** Every mixture from every kind of input. */
describeGgufInputs(new GgufRuns(temporaryDirectory()), [
  ['fixtures/sotu-3m', ['F32', 'F16', 'BF16', 'Q8_0', 'Q4_K_M'], writtenAlone],
  [`${golden}/llama_256/checkpoint`, ['F32', 'F16', 'BF16'], ['F16', 'Q8_0', 'Q4_K_M']],
  [`${golden}/mixtral_256/checkpoint`, ['BF16'], writtenAlone],
  [`${golden}/qwen2/checkpoint`, ['BF16'], ['BF16', 'Q4_0', 'Q5_K_M']],
  [`${golden}/qwen3/checkpoint`, ['F32'], ['F16', 'Q6_K']],
  [`${golden}/llama3_tied/checkpoint`, ['BF16'], ['Q3_K_L', 'IQ4_NL']],
]);
