// SPDX-License-Identifier: MIT
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url))

// Tests run the sources: a stale dist/ cannot pass for what is being tested. Not in the guest of
// `npm run vm`, which comes after a build, and where sources cost each process seconds.
const { MSHARE_VM: built } = process.env

export default defineConfig({
  resolve: {
    alias: built
      ? {}
      : {
          '@mshare/core': source('packages/core/src/index.ts'),
          '@mshare/driver-ffi-napi': source('packages/driver-ffi-napi/src/index.cts'),
          '@mshare/vm': source('packages/vm/src/index.ts'),
        },
  },
  test: {
    include: [
      'packages/*/test/**/*.test.ts',
      'examples/**/*.test.ts',
      'docs/*.test.ts',
      'scripts/test/*.test.ts',
    ],
    exclude: ['**/node_modules/**', '**/dist/**'],
    // ffi-napi, first loaded in a worker thread, crashes the process when that exits.
    pool: 'forks',
    // Most of what tests do is wait; vitest would leave one processor out.
    maxWorkers: '100%',
    // Worker threads run sources, too.
    execArgv: built ? [] : ['--import', source('scripts/sources.mjs')],
    // For programs that tests start with `node --import tsx`: sources there as well.
    env: { TSX_TSCONFIG_PATH: source('tsconfig.json') },
    // Tests wait for other processes, on a machine that may be busy.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    coverage: {
      provider: 'v8',
      // Not the .cts: Node loads it by itself, and vite cannot parse it.
      include: ['packages/*/src/**/*.ts'],
      exclude: ['packages/bench/**'],
      reporter: ['text', 'json-summary'],
      reportOnFailure: true,
      reportsDirectory: 'coverage/ts',
    },
  },
})
