// SPDX-License-Identifier: MIT
//
// The independent count that the demo holds the index against: one process, no region, and none of
// the code that builds the index. It looks for given words only, by a regular expression.

import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'

const unzip = promisify(gunzip)
const LIMIT = 16 * 1024 * 1024

/** In how many of the files, and how often in all, each word is. Paths one character a byte. */
export async function count(
  paths: Iterable<string>,
  words: string[],
): Promise<Map<string, { files: number; times: number }>> {
  const found = new Map(words.map((word) => [word, { files: 0, times: 0 }]))
  const letter = '[A-Za-z0-9\\x80-\\xff]'
  const pattern = new RegExp(`(?<!${letter})(?:${words.join('|')})(?!${letter})`, 'gi')
  for (const path of paths) {
    let bytes: Buffer
    try {
      bytes = await readFile(Buffer.from(path, 'latin1'))
      if (path.endsWith('.gz') && bytes[0] === 0x1f && bytes[1] === 0x8b) bytes = await unzip(bytes)
    } catch {
      continue
    }
    if (bytes.length > LIMIT || bytes.indexOf(0) !== -1) continue
    const here = new Map<string, number>()
    for (const [match] of bytes.toString('latin1').matchAll(pattern)) {
      const word = match.toLowerCase()
      here.set(word, (here.get(word) ?? 0) + 1)
    }
    for (const [word, times] of here) {
      const sum = found.get(word)
      if (sum === undefined) continue
      sum.files++
      sum.times += times
    }
  }
  return found
}
