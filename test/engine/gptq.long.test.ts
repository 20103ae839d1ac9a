import { describeGptq } from './gptq.ts';

describeGptq({ types: { Q2_K: 0.85, Q4_K_M: 0.85, Q4_0: 0.85 }, tokens: 16_384, windows: 20 });
