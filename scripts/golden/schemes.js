// Which outputs the manifest of the bundled model covers. Plain JavaScript, for the script that makes it (from the
// built package) and for the tests that hold the sources to it.

/**
 * Options of one output.
 * @typedef {{ type?: string, method?: string, bits?: number, range?: string, granularity?: string, symmetric?: string,
 *   center?: boolean }} Scheme
 */

/**
 * What of the package is needed; both the sources and the built package have it.
 * @typedef {object} Package
 * @property {Readonly<Record<string, unknown>>} mixtures
 * @property {readonly string[]} methods
 * @property {(options: { input: string } & Scheme) => { plan: { calibration: unknown } }} planQuantization
 */

/** Errors by which the plan stage says that something is not on offer. */
const refusals = ['UsageError', 'ImportanceRequiredError', 'UnsupportedTypeError'];

/**
 * Every --type that this version can write the model as, every preset with each --bits it has, and each preset with
 * each type it codes in a way of its own. Not what is calibrated: its bytes depend on a text and on how matrices are
 * multiplied, and ggml is no judge of them.
 * @param {Package} quantizer
 * @param {string} input
 * @returns {Scheme[]}
 */
export function offeredSchemes({ mixtures, methods, planQuantization }, input) {
  const offered = (/** @type {Scheme} */ scheme) => {
    try {
      return planQuantization({ input, ...scheme }).plan.calibration === null;
    } catch (error) {
      if (error instanceof Error && refusals.includes(error.name)) return false;
      throw error;
    }
  };
  const types = Object.keys(mixtures).map((type) => ({ type }));
  const presets = methods.flatMap((method) => {
    const byBits = [1, 2, 3, 4, 5, 6, 7, 8].map((bits) => ({ method, bits })).filter(offered);
    return byBits.length > 0 ? byBits : [{ method }];
  });
  const ternary = [{ method: 'ternary', type: 'TQ1_0' }];
  return [...types, ...presets, ...ternary].filter(offered);
}

/**
 * A scheme as the command line has it.
 * @param {Scheme} scheme
 */
export const schemeName = (scheme) =>
  Object.entries(scheme)
    .map(([option, value]) => `--${option} ${value}`)
    .join(' ');
