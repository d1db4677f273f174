// SPDX-License-Identifier: MIT
//
// Exit status 0 if node_modules is what package-lock.json says, 1 (with the first difference) if
// `npm ci` has to run. npm leaves a record of what it installed in node_modules; comparing that is
// quick, and right after `npm install` too.

import { readFileSync } from 'node:fs'

const root = new URL('../', import.meta.url)
const packages = (path) => JSON.parse(readFileSync(new URL(path, root), 'utf8')).packages

function stale(reason) {
  console.log(`node_modules: ${reason}`)
  process.exit(1)
}

const wanted = packages('package-lock.json')
let installed
try {
  installed = packages('node_modules/.package-lock.json')
} catch {
  stale('nothing is installed')
}

const libc = process.report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl'
const fits = (list, value) => !list || list.includes(value)

for (const [path, { version, integrity, optional, os, cpu, libc: libcs }] of Object.entries(
  wanted,
)) {
  // Workspaces and links to them are this tree itself.
  if (!path.startsWith('node_modules/') || wanted[path].link) continue
  const here = installed[path]
  if (here) {
    if (here.version !== version || here.integrity !== integrity) stale(`${path} is not ${version}`)
  } else if (
    !optional ||
    (fits(os, process.platform) && fits(cpu, process.arch) && fits(libcs, libc))
  ) {
    stale(`${path} is missing`)
  }
}
for (const [path, { link }] of Object.entries(installed)) {
  if (!link && !wanted[path]) stale(`${path} is not in the lock`)
}
