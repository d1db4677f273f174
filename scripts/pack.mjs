// SPDX-License-Identifier: MIT
//
// npm run pack [-- DIRECTORY]: tarballs of the packages as they are published, into DIRECTORY
// (build/packages). Prints their paths. All workspaces below packages/ that are not private are
// published; a platform package can be packed on its platform only.
//
// Platform packages say which platform they are for only there: npm refuses to install a tree with
// a workspace for another platform than its own.

import { execFileSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const destination = resolve(process.argv[2] ?? 'build/packages')
const root = fileURLToPath(new URL('../', import.meta.url))

const published = readdirSync(join(root, 'packages'))
  .map((name) => ({ name, path: join(root, 'packages', name, 'package.json') }))
  .filter(({ path }) => existsSync(path))
  .map(({ name, path }) => ({ name, manifest: JSON.parse(readFileSync(path, 'utf8')) }))
  .filter(({ manifest }) => !manifest.private)

for (const { manifest } of published) {
  const { dependencies, peerDependencies, peerDependenciesMeta } = manifest
  for (const needed of Object.keys({ ...dependencies, ...peerDependencies })) {
    const ours = needed.startsWith('@mshare/') && !peerDependenciesMeta?.[needed]?.optional
    if (ours && !published.some(({ manifest: { name } }) => name === needed)) {
      throw new Error(`${manifest.name} is published and needs ${needed}, which is not`)
    }
  }
}

const work = mkdtempSync(join(tmpdir(), 'mshare-pack-'))
mkdirSync(destination, { recursive: true })
try {
  for (const { name, manifest: all } of published) {
    const { platform, scripts, devDependencies, ...manifest } = all
    if (platform && !platform.cpu.includes(process.arch)) {
      console.error(`${manifest.name}: not here, but on ${platform.cpu}`)
      continue
    }
    const from = join(root, 'packages', name)
    const to = join(work, name)
    mkdirSync(to)
    writeFileSync(join(to, 'package.json'), JSON.stringify({ ...manifest, ...platform }, null, 2))
    for (const file of manifest.files) {
      const path = join(from, file)
      if (!existsSync(path)) throw new Error(`${path} is not there: npm run build`)
      cpSync(path, join(to, file), { recursive: true })
    }
    // What it refers to is in the repository, and not in the package.
    const text = readFileSync(join(from, 'README.md'), 'utf8')
    writeFileSync(join(to, 'README.md'), text.replaceAll(/\[([^\]]+)\]\(\.\.\/[^)]+\)/g, '$1'))
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
