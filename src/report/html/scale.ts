/**
 * Two scales of seven colours, pale to deep: one hue each and ever darker, so that people with any colour vision read
 * them in the same order, and so does a copier.
 */
export const scales = {
  noise: ['#fbf3e4', '#f5dfb8', '#ecc383', '#dd9f53', '#ab5f24', '#87481b', '#5f3113'],
  bits: ['#eef3f9', '#d3e1f0', '#a9c5e0', '#7aa3cc', '#3f70a6', '#2a5686', '#1a3b63'],
} as const;
export type Scale = keyof typeof scales;

/** Classes of a scale. */
export const CLASSES = scales.noise.length;

/** CSS class of a scale's colour. */
export const colorClass = (scale: Scale, level: number): string => `${scale}${level}`;

/** Rules for the colours, each with the text colour that stands out from it more. */
export const scaleStyles = (): string =>
  Object.entries(scales)
    .flatMap(([scale, colors]) =>
      colors.map((color, level) => {
        const text = contrast(color, '#ffffff') > contrast(color, '#1d2129') ? '#ffffff' : '#1d2129';
        return `.${colorClass(scale as Scale, level)}{background:${color};color:${text}}`;
      }),
    )
    .join('\n');

/** Contrast of two colours "#rrggbb", 1 to 21: "contrast ratio" and "relative luminance" of WCAG 2.2. */
function contrast(a: string, b: string): number {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

function luminance(color: string): number {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const value = Number.parseInt(color.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** The class of a value between low and high; the middle one where they are equal. */
export const classOf = (value: number, low: number, high: number): number =>
  high > low
    ? Math.min(CLASSES - 1, Math.floor(((value - low) / (high - low)) * CLASSES))
    : (CLASSES - 1) / 2;
