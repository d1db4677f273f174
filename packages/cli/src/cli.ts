// SPDX-License-Identifier: MIT

import { main } from './main.js'

// Whoever reads has gone: as SIGPIPE would have it.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error
    process.exit(141)
  })
}
process.exitCode = await main(process.argv.slice(2), process)
