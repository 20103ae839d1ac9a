import { describeTokenIds } from './tokenizer.ts';

describeTokenIds(200_000);
