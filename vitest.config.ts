import { defineConfig } from 'vitest/config';

/**
 * `npm test`: everything that a change is held to, in under five minutes on two cores. What takes longer, and shows
 * the same on more data, is in *.long.test.ts (vitest.long.config.ts).
 */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/**/*.long.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
