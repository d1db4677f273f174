// SPDX-License-Identifier: MIT
//
// What is loaded, from where, and what is said if it cannot be: each in a process of its own.

import { execFile } from 'node:child_process'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { setDriver } from '@mshare/core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { version } from '../src/version.js'
import { SOURCES, thrown, useRoot } from './util.js'

useRoot()
const run = promisify(execFile)
const core = new URL('../src/index.ts', import.meta.url).href

let directory: string
beforeAll(() => {
  directory = mkdtempSync('/tmp/mshare-loading-')
})
afterAll(() => rmSync(directory, { recursive: true }))

/** Run a program; its last line, which is JSON. */
async function result(program: string, env: Record<string, string> = {}, flags: string[] = []) {
  const source = `
    const core = await import(${JSON.stringify(core)})
    const { Region, MshareError, setDriver } = core
    const attempt = (work) => {
      try { work(); return {} } catch (e) { return { ...e, name: e.name, message: e.message } }
    }
    const { readFileSync } = await import('node:fs')
    const maps = () => readFileSync('/proc/self/maps', 'utf8')
    console.log(JSON.stringify(await (async () => { ${program} })()))`
  const args = [...flags, '--import', SOURCES, '--input-type=module', '-e', source]
  const { stdout } = await run(process.execPath, args, { env: { ...process.env, ...env } })
  return JSON.parse(stdout)
}

/** What use of the package says where no other package is installed. */
async function alone(env: Record<string, string>): Promise<string> {
  const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))
  const bundle = `${directory}/alone.mjs`
  const options = ['--bundle', '--platform=node', '--format=esm', '--external:koffi']
  const esbuild = path('../../../node_modules/.bin/esbuild')
  await run(esbuild, [path('../src/index.ts'), ...options, `--outfile=${bundle}`])
  const { stdout } = await run(
    process.execPath,
    [
      '-e',
      `import('${bundle}')
        .then(({ Region }) => Region.open('x'))
        .catch(({ code, message }) => console.log(code, message))`,
    ],
    { env: { ...process.env, MSHARE_LIBRARY: '', ...env } },
  )
  return stdout
}

test('importing loads nothing', async () => {
  const loaded = await result(`
    const before = /libmshare|koffi|ffi-napi/.test(maps())
    Region.probe()
    return [before, /libmshare/.test(maps()), /koffi|ffi-napi/.test(maps())]`)
  expect(loaded).toEqual([false, true, true])
})

test.each([
  ['platform', 'darwin'],
  ['platform', 'win32'],
  ['arch', 'ia32'],
])('with %s %s, import works, and use is ERR_UNSUPPORTED_PLATFORM', async (key, value) => {
  const [error, again, probe] = await result(`
    Object.defineProperty(process, '${key}', { value: '${value}' })
    const probe = Region.probe()
    return [
      attempt(() => Region.create('x', { size: '1GiB' })),
      await Region.openAsync('x').catch((e) => ({ ...e, message: e.message })),
      { available: probe.available, code: probe.error.code }]`)
  expect(error).toMatchObject({ name: 'MshareError', code: 'ERR_UNSUPPORTED_PLATFORM' })
  expect(error.message).toContain(value)
  expect(again.code).toBe('ERR_UNSUPPORTED_PLATFORM')
  expect(probe).toEqual({ available: false, code: 'ERR_UNSUPPORTED_PLATFORM' })
})

describe('libmshare', () => {
  const waysOut = /\(1\).*npm install.*\(2\).*make.*\(3\).*MSHARE_LIBRARY/s

  test('comes from MSHARE_LIBRARY first', async () => {
    const { library } = await result('return Region.probe()')
    const copy = `${directory}/copy.so`
    copyFileSync(library, copy)
    const program = `
      await Region.unnamed({ size: '1GiB' }).mapAsync({ length: 4096 })
      return [Region.probe().library, maps().includes('/libmshare.so.1')]`
    expect(await result(program, { MSHARE_LIBRARY: copy })).toEqual([copy, false])
  })

  test('not there: what was found, what was needed, three ways out', async () => {
    const MSHARE_LIBRARY = `${directory}/nowhere.so`
    const error = await result('return attempt(() => Region.open("x"))', { MSHARE_LIBRARY })
    expect(error.code).toBe('ERR_LIBRARY_NOT_FOUND')
    expect(error.message).toContain(MSHARE_LIBRARY)
    expect(error.message).toMatch(/Needed: libmshare \d+\.\d+\.\d+ .*glibc/)
    expect(error.message).toMatch(waysOut)
  })

  test.each([
    ['no library at all', 'text.so', () => writeFileSync(`${directory}/text.so`, 'not ELF')],
    ['another library', 'libc.so.6', () => {}],
  ])('%s: what the loader says as well', async (_, name, make) => {
    make()
    const path = name === 'libc.so.6' ? await libcPath() : `${directory}/${name}`
    const error = await result('return attempt(() => Region.open("x"))', { MSHARE_LIBRARY: path })
    expect(error.code).toBe('ERR_LIBRARY_LOAD')
    expect(error.message).toContain(path)
    expect(error.message).toMatch(waysOut)
  })

  test('is not in the packages installed: which one it would be', async () => {
    expect(await alone({ MSHARE_FFI: 'koffi' })).toMatch(
      /^ERR_LIBRARY_NOT_FOUND .*@mshare\/libmshare-linux-\w+ is not installed/,
    )
  })

  test('nor can be, without glibc: that it is so, and three ways out', async () => {
    const musl = `data:text/javascript,process.report.getReport = () => ({ header: {} })`
    const said = await alone({ MSHARE_FFI: 'koffi', NODE_OPTIONS: `--import=${encodeURI(musl)}` })
    expect(said).toMatch(/^ERR_UNSUPPORTED_PLATFORM .* another C library/)
    expect(said).toMatch(waysOut)
  })

  /** A copy that says it is another version. */
  async function tampered(change: (major: number, minor: number, patch: number) => number[]) {
    const { library } = await result('return Region.probe()')
    const [major, minor, patch] = version.split('.').map(Number) as [number, number, number]
    const other = change(major, minor, patch).join('.')
    expect(other).toHaveLength(version.length)
    const contents = readFileSync(library, 'latin1').split(`\0${version}\0`)
    expect(contents).toHaveLength(2)
    const path = `${directory}/${other}.so`
    writeFileSync(path, contents.join(`\0${other}\0`), 'latin1')
    return { path, other }
  }
  const another = (n: number) => (n % 10 === 9 ? n - 1 : n + 1)

  const older = (major: number, minor: number, patch: number) => {
    if (major === 0) return [0, another(minor), patch]
    return minor > 0 ? [major, minor - 1, patch] : [major - 1, 9, patch]
  }
  test.each<[string, (major: number, minor: number, patch: number) => number[]]>([
    ['another major version', (major, minor, patch) => [another(major), minor, patch]],
    ['an older series', older],
  ])('of %s: ERR_LIBRARY_VERSION, and both versions', async (_, change) => {
    const { path, other } = await tampered(change)
    const [error, later] = await result(
      `return [attempt(() => Region.open('x')), await Region.openAsync('x').catch((e) => e.code)]`,
      { MSHARE_LIBRARY: path },
    )
    expect(error.code).toBe('ERR_LIBRARY_VERSION')
    for (const part of [version, other, path]) expect(error.message).toContain(part)
    expect(error.message).toMatch(waysOut)
    expect(later).toBe('ERR_LIBRARY_VERSION')
  })

  test("of one's own, of another patch release: is taken", async () => {
    const { path } = await tampered((major, minor, patch) => [major, minor, another(patch)])
    expect(await result('return Region.probe().library', { MSHARE_LIBRARY: path })).toBe(path)
  })

  async function libcPath(): Promise<string> {
    const [path] = await result(`return maps().match(/\\/\\S*libc\\.so\\.6/)`)
    return path
  }
})

describe('the driver', () => {
  test('is koffi by default, and what MSHARE_FFI or setDriver() say', async () => {
    const probe = 'return Region.probe().driver'
    expect(await result(probe, { MSHARE_FFI: '' })).toBe('koffi')
    expect(await result(probe, { MSHARE_FFI: 'ffi-napi' })).toBe('ffi-napi')
    expect(await result(`setDriver('ffi-napi'); ${probe}`, { MSHARE_FFI: 'koffi' })).toBe(
      'ffi-napi',
    )
    expect(await result(`setDriver('koffi'); ${probe}`, { MSHARE_FFI: 'ffi-napi' })).toBe('koffi')
  })

  test('the one chosen is the only one loaded, by the worker thread as well', async () => {
    const program = `
      await Region.unnamed({ size: '1GiB' }).mapAsync({ length: 4096 })
      return [/koffi.*\\.node/.test(maps()), /ffi-napi.*\\.node/.test(maps())]`
    expect(await result(program, { MSHARE_FFI: 'koffi' })).toEqual([true, false])
    expect(await result(program, { MSHARE_FFI: 'ffi-napi' })).toEqual([false, true])
    expect(await result(`setDriver('ffi-napi'); ${program}`, { MSHARE_FFI: 'koffi' })).toEqual([
      false,
      true,
    ])
  })

  test('unknown, or changed too late: ERR_DRIVER', async () => {
    thrown('ERR_DRIVER', () => setDriver('node-ffi' as never))
    const unknown = await result('return attempt(() => Region.open("x"))', { MSHARE_FFI: 'x' })
    expect(unknown).toMatchObject({ code: 'ERR_DRIVER' })
    expect(unknown.message).toMatch(/MSHARE_FFI.*'x'.*koffi.*ffi-napi/)
    const late = await result(`
      setDriver('koffi')
      Region.probe()
      setDriver('koffi')
      return attempt(() => setDriver('ffi-napi'))`)
    expect(late).toMatchObject({ code: 'ERR_DRIVER' })
  })

  test('not installed: which package to install', async () => {
    const { library } = await result('return Region.probe()')
    for (const driver of ['ffi-napi', 'koffi']) {
      const said = await alone({ MSHARE_FFI: driver, MSHARE_LIBRARY: library })
      expect(said).toMatch(/^ERR_DRIVER .*npm install/)
      expect(said).toContain(driver)
      // Its dependencies' scripts do not work.
      if (driver === 'ffi-napi') expect(said).toContain('npm install --ignore-scripts @mshare/')
    }
  })
})

test('a worker thread that dies: ERR_WORKER for what was pending, and then another one', async () => {
  const codes = await result(`
    const { createRequire, syncBuiltinESMExports } = await import('node:module')
    const threads = createRequire('/')('node:worker_threads')
    const { Worker } = threads
    threads.Worker = class extends Worker {
      constructor() { super('throw new Error("boom")', { eval: true, execArgv: [] }) }
    }
    syncBuiltinESMExports()
    const region = Region.unnamed({ size: '1GiB' })
    const results = await Promise.allSettled([region.infoAsync(), region.infoAsync()])
    threads.Worker = Worker
    syncBuiltinESMExports()
    return [
      ...results.map(({ reason }) => reason.code),
      results[0].reason.message.includes('boom'),
      (await region.infoAsync()).window]`)
  expect(codes).toEqual(['ERR_WORKER', 'ERR_WORKER', true, 2 ** 30])
})

describe('detaching', () => {
  test.each([[[]], [['--allow-natives-syntax']], [['--disallow-code-generation-from-strings']]])(
    'works with node %j, and leaves the flag as it was',
    async (flags) => {
      const [length, natives] = await result(
        `
        const { compileFunction } = await import('node:vm')
        const region = Region.unnamed({ size: '1GiB' })
        region.map({ length: 4096 })
        const view = region.attach()
        const array = view.array(Int32Array)
        view.detach()
        let natives = true
        try { compileFunction('%GetOptimizationStatus(() => {})') } catch { natives = false }
        return [array.length, natives]`,
        {},
        flags,
      )
      expect(length).toBe(0)
      expect(natives).toBe(flags.includes('--allow-natives-syntax' as never))
    },
  )
})
