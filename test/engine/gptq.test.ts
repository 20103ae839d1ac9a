import { describeGptq } from './gptq.ts';

describeGptq({ types: { Q4_0: 0.85 }, tokens: 8192, windows: 8 });
