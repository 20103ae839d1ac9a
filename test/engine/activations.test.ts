import { describeActivations } from './activations.ts';

describeActivations({ logits: ['Q8_0', 'Q4_K_M', 'TQ2_0'], perplexity: ['Q4_1', 'F16'] });
