import { describeNotFinite } from '../support/bad-weights.ts';

/** Every value that is not finite, of every dtype, in all ways through a run. */
describeNotFinite(true);
