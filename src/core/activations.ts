/**
 * Ranges of the inputs of one tensor over the calibration text: largest magnitudes, beyond which a value is clipped,
 * by four ways of choosing them. In units of the activations.
 */
export interface ActivationRange {
  /** Name of the tensor whose inputs they are. */
  readonly tensor: string;
  readonly absmax: number;
  readonly percentile: number;
  /** Of least mean squared error. */
  readonly mse: number;
  /** Of least Kullback-Leibler divergence. */
  readonly entropy: number;
}
