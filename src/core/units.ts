/** Binary units: "512 B", "2.35 MiB". */
export function formatBytes(bytes: number): string {
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  if (Math.abs(bytes) < 1024) return `${bytes} B`;
  let value = bytes;
  let unit = -1;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${threeDigits(value)} ${units[unit]}`;
}

/** A byte count with its sign: "+1.50 KiB", "-3 B". */
export const formatSignedBytes = (bytes: number): string => `${bytes < 0 ? '' : '+'}${formatBytes(bytes)}`;

/** Three significant digits below 1000, whole numbers above. */
export const threeDigits = (value: number): string =>
  Math.abs(value) >= 99.95
    ? value.toFixed(0)
    : Math.abs(value) >= 9.995
      ? value.toFixed(1)
      : value.toFixed(2);
