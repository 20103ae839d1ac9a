import { defineConfig } from 'vitest/config';
import quick from './vitest.config.ts';

/**
 * `npm run test:long`, before a release: the *.long.test.ts files alone. Each calls what its short sibling calls, with
 * more of the same: every type and scheme, all blocks for the scalar twins, a hundred windows of text.
 */
export default defineConfig({
  test: {
    ...quick.test,
    include: ['test/**/*.long.test.ts'],
    exclude: [],
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});
