// SPDX-License-Identifier: MIT

import { FAILED } from './errors.js'
import { main, teller } from './main.js'

const words = process.argv.slice(2)
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', ({ code = '', message }: NodeJS.ErrnoException) => {
    // Whoever reads has gone: as SIGPIPE would have it.
    if (code === 'EPIPE' || code === 'EIO') process.exit(141)
    if (stream === process.stdout) {
      const why = message.replace(`${code}: `, '').replace(/, write$/, '')
      teller(words, process).tell({
        ...{ code, message: `standard output cannot be written: ${why}` },
        remedy: 'Direct it elsewhere, or see what is wrong there',
      })
    }
    process.exit(FAILED)
  })
}
process.exitCode = await main(words, process)
