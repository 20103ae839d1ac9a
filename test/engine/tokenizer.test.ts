import { describeTokenIds } from './tokenizer.ts';

describeTokenIds(50_000);
