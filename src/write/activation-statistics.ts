import { type ActivationStatistics, STATISTICS } from '../core/activations.ts';

/**
 * The file of `quantize calibrate`, JSON, from what `collectActivations` found. `run`: what may differ between two runs over the
 * same text.
 */
export const statisticsFile = (statistics: ActivationStatistics, run: object = {}): string =>
  `${JSON.stringify({ ...STATISTICS, ...statistics, run }, null, 2)}\n`;
