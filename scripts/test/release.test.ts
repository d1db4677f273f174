// SPDX-License-Identifier: MIT
//
// What a release is made with, on a copy of this tree with a history of its own.

import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'

// For hangs: compilers, on a machine that may be busy.
vi.setConfig({ testTimeout: 600_000, hookTimeout: 600_000 })

const top = fileURLToPath(new URL('../..', import.meta.url))
const header = 'libmshare/include/mshare.h'
let work: string
let tree: string

function run(command: string, ...args: string[]) {
  const { CI: _, ...env } = process.env
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: tree,
    encoding: 'utf8',
    // What is built in this tree need not be built again.
    env: { ...env, TURBO_CACHE_DIR: join(top, '.turbo/cache'), NO_COLOR: '1' },
    timeout: 500_000,
  })
  if (error) throw error
  return { status, stdout, stderr }
}

const identity = ['user.name=somebody', 'user.email=somebody@localhost', 'commit.gpgSign=false']

function git(...args: string[]): string {
  const options = identity.flatMap((setting) => ['-c', setting])
  const { status, stdout, stderr } = run('git', ...options, ...args)
  if (status !== 0) throw new Error(`git ${args.join(' ')}: ${stderr}`)
  return stdout
}

function commit(message: string): void {
  git('add', '-A')
  git('commit', '-q', '--allow-empty', '-m', message)
}

const read = (path: string) => readFileSync(join(tree, path), 'utf8')
const write = (path: string, text: string) => writeFileSync(join(tree, path), text)
const release = (...args: string[]) => run('sh', 'scripts/release.sh', ...args)

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'mshare-release-'))
  tree = join(work, 'mshare')
  execFileSync(
    'sh',
    [
      '-c',
      `mkdir "$0" && git ls-files -z -co --exclude-standard --deduplicate |
    tar --null --ignore-failed-read -T - -c 2>/dev/null | tar -x -C "$0"`,
      tree,
    ],
    { cwd: top },
  )
  symlinkSync(join(top, 'node_modules'), join(tree, 'node_modules'))
  git('init', '-q', '-b', 'main')
  writeFileSync(join(tree, '.git/info/exclude'), 'node_modules\n')
  commit('house: all of it')
})

afterAll(() => rmSync(work, { recursive: true, force: true }))

describe('the version', () => {
  afterAll(() => void git('checkout', '-q', '.'))

  it('is set everywhere, and what differs is named', () => {
    expect(run('node', 'scripts/version.mjs')).toMatchObject({ status: 0, stdout: '' })
    expect(run('node', 'scripts/version.mjs', '9.8.7')).toMatchObject({ status: 0, stdout: '' })
    expect(run('node', 'scripts/version.mjs')).toMatchObject({ status: 0, stdout: '' })
    expect(read(header)).toContain('#define MSHARE_VERSION_MINOR 8\n')
    expect(read('packages/core/src/version.ts')).toContain("'9.8.7'")
    expect(JSON.parse(read('packages/core/package.json'))).toMatchObject({
      version: '9.8.7',
      optionalDependencies: { '@mshare/libmshare-linux-x64': '9.8.7' },
    })
    expect(read('debian/changelog')).toMatch(/^mshare \(9\.8\.7\) unstable/)
    // For whoever looks for one that has been left out.
    expect(git('grep', '-l', '9\\.8\\.7').trim().split('\n').length).toBeGreaterThan(10)

    for (const path of [header, 'packages/driver-ffi-napi/package.json', 'package-lock.json']) {
      const text = read(path)
      write(path, text.replace('9.8.7', '9.8.6'))
      const { status, stdout } = run('node', 'scripts/version.mjs')
      expect(status).toBe(1)
      expect(stdout).toMatch(new RegExp(`^${path}: .*9\\.8\\.6, not 9\\.8\\.7$`, 'm'))
      write(path, text)
    }
  })

  it.each(['1.2', 'v1.2.3', '1.2.3-rc1', '01.2.3'])('cannot be %s', (version) => {
    expect(run('node', 'scripts/version.mjs', version).status).toBe(2)
  })
})

describe('a release', () => {
  const { version } = JSON.parse(readFileSync(join(top, 'package.json'), 'utf8'))

  it('has a changelog of what users see in the log, which stops it when it is not current', () => {
    commit('libmshare: something new: with a colon')
    commit('core, driver-ffi-napi: something better')
    commit('libmshare/test: something nobody sees')
    const { status, stdout } = release('--without-tests')
    expect(stdout).toMatch(/^not ok - CHANGELOG.md is what the log says\n/m)
    expect(status).toBe(1)
    expect(stdout).not.toMatch(/builds|What remains/)

    expect(release('--changelog').status).toBe(0)
    commit('house: the changelog')
    expect(read('CHANGELOG.md').replace(/^.*?(?=^## )/ms, '')).toBe(
      `## ${version}\n\n### libmshare\n\n- something new: with a colon\n\n` +
        '### @mshare/core\n\n- something better\n',
    )
  })

  it('is made as far as it can be without publishing', () => {
    const { status, stdout, stderr } = release('--dry-run', '--without-tests')
    expect(`${stdout}${stderr}`).not.toContain('not ok')
    expect(status).toBe(0)
    expect(stdout.match(/^ok - /gm)?.length).toBeGreaterThan(9)
    expect(stdout).toContain('left out, and to be done: npm test')
    for (const file of [`mshare-${version}.tar.gz`, `mshare-core-${version}.tgz`, 'SHA256SUMS']) {
      expect(stdout).toContain(file)
    }
    expect(stdout).toMatch(/libmshare1_.*\.deb/)
    expect(stdout).toContain(`git tag -s -m "mshare ${version}" v${version}`)
    expect(stdout).toMatch(/npm publish .*libmshare-linux-.*\n.*npm publish .*mshare-core-/)
    expect(git('status', '--porcelain')).toBe('')
    expect(existsSync(join(tree, 'build/release'))).toBe(false)
  })

  it('has no change that is not committed, and no tag yet', () => {
    write('README.md', '')
    const dirty = release()
    expect(dirty.stdout).toMatch(/^not ok - nothing is uncommitted\n {4} M README.md\n$/m)
    expect(dirty.status).toBe(1)
    git('checkout', '-q', '.')
    git('tag', `v${version}`)
    const again = release()
    expect(again.stdout).toMatch(new RegExp(`^not ok - there is no v${version} yet\n`, 'm'))
    expect(again.status).toBe(1)
    git('tag', '-d', `v${version}`)
  })

  // What is built stays; what was released is what differs.
  describe.runIf(process.arch === 'x64')('whose ABI', () => {
    const xml = 'libmshare/abi/x86_64.xml'
    const symbol = / *<elf-symbol name='mshare_version'.*\n/
    const one = / *<function-decl name='mshare_version'.*?<\/function-decl>\n/s
    const constants = 'libmshare/abi/constants'
    const released = (path: string, change: (text: string) => string) => {
      const text = read(path)
      expect(change(text)).not.toBe(text)
      write(path, change(text))
      commit('house: as it was')
      git('tag', 'v0.0.1')
      git('revert', '--no-edit', 'HEAD')
      const { status, stdout } = run('sh', 'libmshare/test/abi-check')
      git('tag', '-d', 'v0.0.1')
      expect(stdout).toContain('compared with v0.0.1')
      return { status, stdout }
    }

    it('has more than the last one had: goes on', () => {
      const { status, stdout } = released(xml, (text) => text.replace(symbol, '').replace(one, ''))
      expect(stdout).not.toContain('mshare_version')
      expect(status).toBe(0)
    })

    it.each([
      ['lacks a function', xml, (text: string) => text.replaceAll('mshare_version', 'mshare_old')],
      [
        'has another structure',
        xml,
        (text: string) =>
          text.replace("layout-offset-in-bits='544'", "layout-offset-in-bits='512'"),
      ],
      ['lacks a constant', constants, (text: string) => `#define MSHARE_AAA 1\n${text}`],
      [
        'has another constant',
        constants,
        (text: string) => text.replace('MSHARE_BACKEND_SHM 2', 'MSHARE_BACKEND_SHM 3'),
      ],
    ])('%s: does not', (_, path, change) => {
      const { status, stdout } = released(path, change)
      expect(stdout).toContain('would not run')
      expect(status).toBe(1)
    })
  })
})
