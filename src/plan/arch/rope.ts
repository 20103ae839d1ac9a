import { ModelConfig } from '../config.ts';
import { asObject } from '../json.ts';
import type { ExtraTensor } from './architecture.ts';

/**
 * Rope settings in the one form of transformers 5 (`rope_parameters`), whichever form config.json has: older
 * files say `rope_theta` and `rope_scaling`, whose `type` was later renamed `rope_type`. Parameters by kind of
 * layer are those of full attention. (transformers: `convert_rope_params_to_dict`, `standardize_rope_params`.)
 */
export function ropeParameters(config: ModelConfig): ModelConfig {
  // A scaling that is absent, null or empty gives way to rope_parameters.
  const scaling = asObject(config.find(['rope_scaling']));
  const given =
    scaling !== null && Object.keys(scaling).length > 0
      ? scaling
      : asObject(config.find(['rope_parameters']));
  const layered = asObject(given?.full_attention);
  const rope = { ...(layered ?? given) };
  const theta = config.number(['rope_theta', 'default_rope_theta']);
  if (rope.rope_theta === undefined && theta !== null) rope.rope_theta = theta;
  if (rope.rope_type === undefined && rope.type !== undefined) rope.rope_type = rope.type;
  if (typeof rope.rope_type === 'string' && ['llama3', 'yarn', 'longrope'].includes(rope.rope_type)) {
    const outside = config.integer(['original_max_position_embeddings']);
    if (outside !== null && layered === null) rope.original_max_position_embeddings = outside;
    const context = config.integer(['max_position_embeddings']);
    if (context !== null) rope.original_max_position_embeddings ??= context;
  }
  return new ModelConfig(rope, 'config.json (rope parameters)');
}

const f = Math.fround;
/** What PyTorch makes of `number / tensor` in float32: the reciprocal, rounded, times the number, rounded. */
const divide = (x: number, tensor: number): number => f(f(1 / tensor) * f(x));

/**
 * Factors by which llama.cpp divides each rotary frequency of a Llama 3.1 model, one a pair of dimensions: 1 for
 * short wavelengths, the scaling factor for long ones, smoothly between (`generate_extra_tensors`; Llama 3.1's
 * `apply_scaling`). Every step rounds to float32 in the order PyTorch has it there, so that bytes are equal.
 */
export function llama3RopeFactors(config: ModelConfig): ExtraTensor[] {
  const rope = ropeParameters(config);
  const type = rope.find(['rope_type']);
  if (typeof type !== 'string' || type.toLowerCase() !== 'llama3') return [];
  const base = f(rope.number(['rope_theta']) ?? 10_000);
  const size =
    config.integer(['head_dim']) ??
    Math.floor(config.count(['hidden_size']) / config.count(['num_attention_heads']));
  const factor = rope.number(['factor']) ?? 8;
  const lowFactor = rope.number(['low_freq_factor']) ?? 1;
  const highFactor = rope.number(['high_freq_factor']) ?? 4;
  const context = rope.number(['original_max_position_embeddings']) ?? 8192;
  const longest = f(context / lowFactor);
  const shortest = f(context / highFactor);

  const values = Array.from({ length: Math.ceil(size / 2) }, (_, i) => {
    const frequency = f(1 / f(base ** f((2 * i) / size)));
    const wavelength = divide(2 * Math.PI, frequency);
    if (wavelength < shortest) return 1;
    if (wavelength > longest) return f(factor);
    const smooth = f(f(divide(context, wavelength) - f(lowFactor)) / f(highFactor - lowFactor));
    return f(1 / f(f(f(1 - smooth) / f(factor)) + smooth));
  });
  return [{ name: 'rope_freqs.weight', values }];
}
