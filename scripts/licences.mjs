// SPDX-License-Identifier: MIT
//
// Reads paths (each ended by a NUL) and names those whose first lines lack the licence they are
// under. Files that cannot carry a comment, or are prose, are covered by LICENSE.

import { readFileSync } from 'node:fs'

const paths = readFileSync(0, 'utf8').split('\0').filter(Boolean)
const source = /\.(c|h|S|cc|cpp|ts|mts|cts|js|mjs|cjs|sh|py|map|in)$|(^|\/)(Makefile|Kconfig)$/
let wrong = 0

for (const path of paths) {
  let text
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    // Deleted but still tracked, or a symbolic link to a directory.
    if (error.code === 'ENOENT' || error.code === 'EISDIR') continue
    throw error
  }
  if (!source.test(path) && !text.startsWith('#!')) continue
  const head = text.split('\n', 5).join('\n')
  const licence = /SPDX-License-Identifier: (.+?)\s*(\*\/|-->)?$/m.exec(head)?.[1]
  const ours = path.startsWith('kernel/') ? /^GPL-2\.0(-only)?( |$)/ : /^MIT$/
  if (!licence || !ours.test(licence)) {
    console.log(`${path}: ${licence ? `licence is ${licence}` : 'no SPDX-License-Identifier'}`)
    wrong++
  }
}
process.exit(wrong ? 1 : 0)
