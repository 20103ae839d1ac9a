import { describeActivations } from './activations.ts';

describeActivations({
  logits: ['Q8_0', 'Q5_0', 'Q4_0', 'Q4_K_M', 'Q2_K', 'IQ4_XS', 'TQ2_0', 'Q1_0'],
  perplexity: ['Q8_0', 'Q4_1', 'Q4_K_M', 'F16'],
});
