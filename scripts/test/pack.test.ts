// SPDX-License-Identifier: MIT
//
// The packages as they are published: what is in them, and that they work where nothing is built.

import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'

const top = fileURLToPath(new URL('../..', import.meta.url))
const library = `libmshare-linux-${process.arch}`
let work: string
let scope: string

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'mshare-packed-'))
  scope = join(work, 'node_modules/@mshare')
  const output = execFileSync(process.execPath, [join(top, 'scripts/pack.mjs'), work], {
    encoding: 'utf8',
  })
  for (const tarball of output.trim().split('\n')) {
    const name = /^mshare-(.*)-\d+\.\d+\.\d+\.tgz$/.exec(basename(tarball))?.[1] as string
    mkdirSync(join(scope, name), { recursive: true })
    execFileSync('tar', ['-xzf', tarball, '-C', join(scope, name), '--strip-components=1'])
  }
  for (const dependency of ['koffi', 'ffi-napi', 'ref-napi']) {
    symlinkSync(join(top, 'node_modules', dependency), join(work, 'node_modules', dependency))
  }
})

afterAll(() => rmSync(work, { recursive: true, force: true }))

const manifest = (name: string) =>
  JSON.parse(readFileSync(join(scope, name, 'package.json'), 'utf8'))

it('packs core, the driver and the library of this platform', () => {
  expect(readdirSync(scope).sort()).toEqual(['core', 'driver-ffi-napi', library].sort())
  for (const name of readdirSync(scope)) {
    expect(readFileSync(join(scope, name, 'LICENSE'), 'utf8')).toContain('MIT License')
    // Nothing runs at install, and nothing of this tree is needed.
    expect(manifest(name)).not.toHaveProperty('scripts')
    expect(manifest(name)).not.toHaveProperty('devDependencies')
  }
})

it('says which platform the library is for', () => {
  expect(manifest(library)).toMatchObject({ os: ['linux'], cpu: [process.arch], libc: ['glibc'] })
  expect(readdirSync(join(scope, library)).sort()).toEqual([
    'LICENSE',
    'libmshare.so.1',
    'package.json',
  ])
  expect(manifest('core').optionalDependencies).toHaveProperty(`@mshare/${library}`)
})

it.each(['koffi', 'ffi-napi'])('works with nothing but what was packed, on %s', (driver) => {
  const program = `
    import { Region } from '@mshare/core'
    const region = Region.unnamed({ size: '1GiB' })
    region.map({ length: '64KiB', prot: 'rw' })
    const view = region.attach()
    const hits = view.array(Int32Array, { length: 16 })
    Atomics.add(hits, 0, 42)
    console.log(hits[0])
    region.close()
  `
  const { MSHARE_LIBRARY: _, NODE_OPTIONS: __, ...env } = process.env
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: work,
    encoding: 'utf8',
    env: { ...env, MSHARE_FFI: driver },
  })
  expect(output).toBe('42\n')
})
