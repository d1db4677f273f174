// SPDX-License-Identifier: MIT
//
// npm run pack [-- DIRECTORY]: tarballs of the packages as they are published, into DIRECTORY
// (build/packages). Prints their paths.
//
// Platform packages say which platform they are for only there: npm refuses to install a tree with
// a workspace for another platform than its own.

import { execFileSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const destination = resolve(process.argv[2] ?? 'build/packages')
const root = new URL('../', import.meta.url).pathname
const library = `libmshare-linux-${process.arch}`
const work = mkdtempSync(join(tmpdir(), 'mshare-pack-'))

mkdirSync(destination, { recursive: true })
try {
  for (const name of ['core', 'driver-ffi-napi', library]) {
    const from = join(root, 'packages', name)
    const to = join(work, name)
    mkdirSync(to)
    const { platform, scripts, devDependencies, ...manifest } = JSON.parse(
      readFileSync(join(from, 'package.json'), 'utf8'),
    )
    writeFileSync(join(to, 'package.json'), JSON.stringify({ ...manifest, ...platform }, null, 2))
    for (const file of manifest.files) {
      const path = join(from, file)
      if (!existsSync(path)) throw new Error(`${path} is not there: npm run build`)
      cpSync(path, join(to, file), { recursive: true })
    }
    cpSync(join(root, 'LICENSES/MIT.txt'), join(to, 'LICENSE'))
    const [{ filename }] = JSON.parse(
      execFileSync('npm', ['pack', '--json', '--pack-destination', destination], {
        cwd: to,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'inherit'],
      }),
    )
    console.log(join(destination, filename))
  }
} finally {
  rmSync(work, { recursive: true })
}
