import { readFileSync } from 'node:fs';

/**
 * Largest resident set of this process so far, in bytes: VmHWM of /proc/self/status on Linux, elsewhere what getrusage
 * says. (On Linux, ru_maxrss also counts the process that started this one, as it was before exec.)
 */
export function peakResidentBytes(): number {
  return kernelPeak() ?? process.resourceUsage().maxRSS * 1024;
}

function kernelPeak(): number | null {
  try {
    const match = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
    return match === null ? null : Number(match[1]) * 1024;
  } catch {
    return null; // no /proc
  }
}
