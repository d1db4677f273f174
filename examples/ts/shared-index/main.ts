// SPDX-License-Identifier: MIT
//
// One word index of every text file below some directories, in one region, built by as many
// processes as one likes and read by others meanwhile. The same program in C:
// examples/c/shared-index, where index.h explains the format.

import { parseArgs } from 'node:util'
import { Region } from '@mshare/core'
import { ask, dump, status } from './ask.js'
import { create } from './create.js'
import { expected } from './index.js'
import { write } from './write.js'

const usage = `\
usage: main.js create [--window GIB] NAME DIRECTORY...   make the region, list the files
       main.js write NAME                                index files until none is left
       main.js ask NAME [QUERY]...                       or queries from stdin, one a line
       main.js status NAME                               how far it is
       main.js dump NAME                                 every word: files, times, word
       main.js rm NAME
A query is words that a file must all have; the last letters of one can be "*".
`

function wrongUsage(): never {
  process.stderr.write(usage)
  process.exit(2)
}

function number(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) wrongUsage()
  return Number(text)
}

function options() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        window: { type: 'string', default: '4' },
        // For tests: be killed halfway through the n-th file; when the n-th chunk is not yet mapped.
        'die-in-file': { type: 'string' },
        'die-in-chunk': { type: 'string' },
      },
    })
  } catch {
    wrongUsage()
  }
}

async function main(): Promise<void> {
  const { values, positionals } = options()
  const [command, name, ...rest] = positionals
  const option = (text?: string) => (text === undefined ? 0 : number(text))
  if (command === undefined || name === undefined) wrongUsage()
  // A machine so busy that a peer is not scheduled for 10 s is no reason to give up.
  Region.setTimeout(60_000)
  if (command === 'create' && rest.length > 0) return create(name, number(values.window), rest)
  if (command === 'ask') return ask(name, rest)
  if (rest.length > 0) wrongUsage()
  if (command === 'write') {
    return write(name, option(values['die-in-file']), option(values['die-in-chunk']))
  }
  if (command === 'status') return status(name)
  if (command === 'dump') return dump(name)
  if (command === 'rm') return Region.unlink(name)
  wrongUsage()
}

try {
  await main()
} catch (error) {
  console.error(`shared-index: ${expected(error).message}`)
  process.exitCode = 1
}
