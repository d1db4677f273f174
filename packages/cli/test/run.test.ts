// SPDX-License-Identifier: MIT
//
// mshare run and vm pass on what their command does; and the package where nothing is around it.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { Region } from '@mshare/core'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { CLI, missing, mshareProcess, parsed, TOP, useRoot } from './util.js'

const root = useRoot()
const kernel = process.env['MSHARE_TEST_KERNEL'] ?? 'test'
let work: string
beforeAll(() => {
  work = realpathSync(mkdtempSync(join(tmpdir(), 'mshare-run-')))
})
afterAll(() => rmSync(work, { recursive: true, force: true }))

const run = (words: string[], env: NodeJS.ProcessEnv = {}) =>
  mshareProcess(['run', ...words], { env: { MSHARE_ROOT: root.path, ...env } })

describe('run', () => {
  test('the shim is loaded, and the status is the command’s', () => {
    const { status, out, err } = run(['sh', '-c', 'echo "$LD_PRELOAD"; echo words >&2; exit 7'])
    expect(status).toBe(7)
    expect(out).toMatch(/\/libmshare-preload\.so\n$/)
    // mshare-run says what keeps it from working, here or in the guest.
    expect(err).toMatch(/^(mshare-run: .*\n)?words\n$/)
  })

  test('options are mshare-run’s, and the command has its own', () => {
    const script = 'echo "$MSHARE_PRELOAD_THRESHOLD $MSHARE_PRELOAD_LOG $*"'
    const options = ['--quiet', '-t', '64M', '--log', `${work}/log`]
    const { out, err } = run([...options, 'sh', '-c', script, 'sh', '--json', '-t', '--help'])
    expect(out).toBe(`64M ${work}/log --json -t --help\n`)
    expect(err).toBe('')
    expect(run(['-q', '--', 'echo', '--', '-x']).out).toBe('-- -x\n')
  })

  test('signals, and commands that cannot be run: as a shell has them', () => {
    expect(run(['-q', 'sh', '-c', 'kill -TERM $$']).status).toBe(143)
    expect(run(['-q', 'sh', '-c', 'kill -SEGV $$']).status).toBe(139)
    expect(run(['-q', 'no-such-program'])).toMatchObject({ status: 127 })
    expect(run(['-q', '/etc/passwd'])).toMatchObject({ status: 126 })
  })

  test.each(['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1'] as const)(
    '%s goes to the command',
    async (signal) => {
      const script = `trap 'echo got; exit 5' ${signal.slice(3)}; echo ready; while :; do sleep 0.1; done`
      const child = spawn(process.execPath, [...CLI, 'run', '-q', 'sh', '-c', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, MSHARE_ROOT: root.path },
        detached: true,
      })
      // Both of them, should one outlive the other.
      onTestFinished(() => {
        try {
          process.kill(-(child.pid as number), 'SIGKILL')
        } catch {}
      })
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
      expect((await lines.next()).value).toBe('ready')
      child.kill(signal)
      const [[status]] = await Promise.all([once(child, 'exit'), lines.next()])
      expect(status).toBe(5)
    },
  )

  test('mshare-run is the one beside the library in use', () => {
    const probe = Region.probe()
    const library = probe.available ? realpathSync(probe.library) : ''
    mkdirSync(`${work}/lib`)
    symlinkSync(library, `${work}/lib/libmshare.so.1`)
    writeFileSync(`${work}/lib/mshare-run`, '#!/bin/sh\necho "this one: $*"\n')
    chmodSync(`${work}/lib/mshare-run`, 0o755)
    const { out } = run(['true'], { MSHARE_LIBRARY: `${work}/lib/libmshare.so.1` })
    expect(out).toBe('this one: -- true\n')
  })
})

describe('vm', () => {
  const vm = (...words: string[]) => mshareProcess(['vm', ...words])

  test('its options, and what is wrong with them', () => {
    expect(vm('--help').out).toMatch(/^usage: mshare vm \[OPTION/)
    const bad = vm('--frobnicate')
    expect(bad).toMatchObject({ status: 2, out: '' })
    expect(bad.err).toContain('--frobnicate')
    const none = mshareProcess(['vm', 'true'], { env: { PATH: work } })
    expect(none.status).toBe(122)
    expect(none.err).toMatch(/no qemu-system-x86_64[\s\S]*apt-get install/)
  })

  test('the command runs in the guest, and its status is passed on', (context) => {
    if (missing('qemu-system-x86_64', context)) return
    const script = 'test -e /sys/fs/mshare/mshare_info && echo here; exit 9'
    const options = ['--kernel', kernel, '--memory', '512M', '--timeout', '300']
    const { status, out } = vm(...options, '--', 'sh', '-c', script, '--help')
    expect({ status, out }).toEqual({ status: 9, out: 'here\n' })
  }, 3_600_000)
})

// What `npm install @mshare/cli` puts down, and no checkout around it.
describe('installed', () => {
  let cli: string

  beforeAll(() => {
    const modules = join(work, 'node_modules')
    mkdirSync(join(modules, '@mshare/cli'), { recursive: true })
    for (const part of ['bin', 'dist', 'package.json', 'schema.json']) {
      cpSync(join(TOP, 'packages/cli', part), join(modules, '@mshare/cli', part), {
        recursive: true,
      })
    }
    symlinkSync(join(TOP, 'packages/core'), join(modules, '@mshare/core'))
    const commander = createRequire(join(TOP, 'packages/cli/package.json')).resolve('commander')
    symlinkSync(dirname(commander), join(modules, 'commander'))
    mkdirSync(join(modules, '.bin'))
    symlinkSync('../@mshare/cli/bin/mshare.js', join(modules, '.bin/mshare'))
    cli = join(modules, '.bin/mshare')
    cpSync(join(TOP, 'libmshare/build/libmshare.so.1'), join(work, 'libmshare.so.1'))
  })

  const installed = (...words: string[]) => {
    // A libmshare by itself.
    const library = join(work, 'libmshare.so.1')
    const env = { PATH: work, MSHARE_ROOT: root.path, TMPDIR: work, MSHARE_LIBRARY: library }
    const child = spawnSync(process.execPath, [cli, ...words], { encoding: 'utf8', env })
    return { status: child.status, out: child.stdout, err: child.stderr }
  }

  test('works', () => {
    Region.create('a', { size: '1GiB' }).close()
    const { status, out, err } = installed('ls', '--json')
    Region.unlink('a')
    expect({ status, err }).toEqual({ status: 0, err: '' })
    expect(parsed('ls', out)).toMatchObject({ regions: [{ name: 'a' }] })
  })

  test('run and vm say what they lack', () => {
    expect(installed('run', 'true')).toEqual({
      status: 125,
      out: '',
      err: expect.stringMatching(
        /^mshare run: ENOENT: there is no mshare-run .*make -C libmshare.*\n$/,
      ),
    })
    expect(installed('vm', 'true')).toEqual({
      status: 122,
      out: '',
      err: expect.stringMatching(/^mshare vm: ENOENT: @mshare\/vm.* not installed\. .*\n$/),
    })
    const { status, out } = installed('doctor')
    expect(status).toBe(0)
    expect(out).toMatch(/^note +run +there is no mshare-run/m)
    expect(out).toMatch(/^note +vm +@mshare\/vm is not installed/m)
  })
})
