import { describeTokenIds } from './tokenizer.ts';

/** The whole of the text. */
describeTokenIds(Number.POSITIVE_INFINITY);
