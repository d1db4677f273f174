// SPDX-License-Identifier: MIT
//
// The packages as they are published: what is in them, and that they work where nothing can be
// built, on every Node.js that is supported. The Nodes come from the registry, as npm packages.

import { execFileSync, spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'

// For hangs: npm and compilers, on a machine that may be busy.
vi.setConfig({ testTimeout: 600_000, hookTimeout: 600_000 })

const top = fileURLToPath(new URL('../..', import.meta.url))
const { version } = JSON.parse(readFileSync(join(top, 'packages/core/package.json'), 'utf8'))
const library = `libmshare-linux-${process.arch}`
const majors = [20, 22, 24, 26]
const newest = Math.max(...majors)

const workspaces = readdirSync(join(top, 'packages')).flatMap((name) => {
  const path = join(top, 'packages', name, 'package.json')
  return existsSync(path) ? [{ name, ...JSON.parse(readFileSync(path, 'utf8')) }] : []
})
const published = workspaces
  .filter((manifest) => !manifest.private)
  .filter(({ platform }) => !platform || platform.cpu.includes(process.arch))
  .map((manifest) => basename(manifest.name) as string)

let work: string
let root: string
const tarball = (name: string) => join(work, 'tarballs', `mshare-${name}-${version}.tgz`)
const installed = (major: number, ...path: string[]) =>
  join(work, `on-${major}`, 'node_modules/@mshare', ...path)

/** The first of that name on PATH. */
function program(name: string): string {
  const path = (process.env['PATH'] ?? '').split(delimiter).map((part) => join(part, name))
  return realpathSync(path.find((file) => existsSync(file)) as string)
}

/**
 * Who has Node.js and nothing to build with: what npm and mshare have been told here is not among
 * it, but where the registry is.
 */
function environment(major: number): NodeJS.ProcessEnv {
  const kept =
    /^npm_config_(registry|userconfig|globalconfig|cache|ca|cafile|(https?_|no)?proxy|\/\/)/i
  const env = Object.entries(process.env).filter(
    ([name]) =>
      !/^(npm_|MSHARE_|NODE_(?!EXTRA_CA)|VITEST|INIT_CWD|CC$|CXX$)/i.test(name) || kept.test(name),
  )
  return { ...Object.fromEntries(env), PATH: join(work, `path-${major}`), MSHARE_ROOT: root }
}

function run(major: number, cwd: string, command: string, args: string[], env = {}) {
  const { status, signal, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    env: { ...environment(major), ...env },
    timeout: 500_000,
  })
  if (error) throw error
  return { status: signal ?? status, stdout, stderr }
}

/** What it printed, if it went well. */
function output(...args: Parameters<typeof run>): string {
  const { status, stdout, stderr } = run(...args)
  if (status !== 0)
    throw new Error(`${args[2]} ${args[3].join(' ')}: ${status}\n${stdout}${stderr}`)
  return stdout
}

const npm = (major: number, cwd: string, ...args: string[]) =>
  output(major, cwd, 'npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', ...args])

/** A module that is run in the directory where things are installed on that Node. */
const node = (major: number, source: string, env = {}, cwd = join(work, `on-${major}`)) =>
  output(major, cwd, 'node', ['--input-type=module', '-e', source], env)

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'mshare-packed-'))
  root = mkdtempSync('/dev/shm/mshare-packed-')
  execFileSync(process.execPath, [join(top, 'scripts/pack.mjs'), join(work, 'tarballs')], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const nodes = join(work, 'nodes')
  mkdirSync(nodes)
  execFileSync(
    'npm',
    [
      ...['install', '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts'],
      ...majors.map((major) => `node${major}@npm:node-linux-${process.arch}@${major}`),
    ],
    { cwd: nodes, stdio: ['ignore', 'ignore', 'inherit'] },
  )
  for (const major of majors) {
    const path = join(work, `path-${major}`)
    mkdirSync(path)
    symlinkSync(join(nodes, `node_modules/node${major}/bin/node`), join(path, 'node'))
    for (const name of ['npm', 'npx', 'sh']) symlinkSync(program(name), join(path, name))
  }
})

afterAll(() => {
  rmSync(work, { recursive: true, force: true })
  rmSync(root, { recursive: true, force: true })
})

it('everything that is published is packed, and nothing else', () => {
  expect(published).toContain('core')
  expect(readdirSync(join(work, 'tarballs')).sort()).toEqual(
    published.map((name) => basename(tarball(name))).sort(),
  )
})

describe.each(published)('%s', (name) => {
  const entries = () =>
    execFileSync('tar', ['-tzf', tarball(name)], { encoding: 'utf8' })
      .trim()
      .split('\n')
  const manifest = () =>
    JSON.parse(
      execFileSync('tar', ['-xzOf', tarball(name), 'package/package.json'], { encoding: 'utf8' }),
    )

  it('has a licence, a page, no tests, and of scripts and what they need nothing', () => {
    expect(entries()).toEqual(expect.arrayContaining(['package/LICENSE', 'package/README.md']))
    expect(entries().filter((path) => /test|tsbuildinfo|tsconfig|\.turbo/.test(path))).toEqual([])
    expect(manifest()).not.toHaveProperty('scripts')
    expect(manifest()).not.toHaveProperty('devDependencies')
    expect(manifest()).toMatchObject({ version, license: 'MIT' })
  })

  it('does not say where it was built', () => {
    const directory = mkdtempSync(join(work, 'unpacked-'))
    execFileSync('tar', ['-xzf', tarball(name), '-C', directory])
    expect(spawnSync('grep', ['-rlaF', top, directory], { encoding: 'utf8' }).stdout).toBe('')
  })

  it('publint and arethetypeswrong find nothing', () => {
    const tool = (tool: string, ...args: string[]) => {
      const { status, stdout, stderr } = spawnSync(join(top, 'node_modules/.bin', tool), args, {
        encoding: 'utf8',
      })
      expect(`${stdout}${stderr}status ${status}`).toMatch(/status 0$/)
      return stdout
    }
    expect(tool('publint', '--strict', tarball(name))).toContain('All good!')
    if (!JSON.stringify(manifest().exports ?? {}).includes('"types"')) return
    // What TypeScript before 4.7 and CommonJS see of ES modules is no concern here.
    const profile = manifest().exports['.'].default.endsWith('.cjs') ? 'node16' : 'esm-only'
    tool('attw', '--profile', profile, tarball(name))
  })
})

it('the platform package says for which platform, and has the library, the shim and mshare-run', () => {
  const list = execFileSync('tar', ['-tvzf', tarball(library)], { encoding: 'utf8' })
  for (const path of ['lib/libmshare.so.1', 'lib/libmshare-preload.so', 'bin/mshare-run']) {
    expect(list).toMatch(new RegExp(`^-rwxr-xr-x .* package/${path}$`, 'm'))
  }
  const text = execFileSync('tar', ['-xzOf', tarball(library), 'package/package.json'], {
    encoding: 'utf8',
  })
  expect(JSON.parse(text)).toMatchObject({ os: ['linux'], cpu: [process.arch], libc: ['glibc'] })
})

describe.each(majors)('on Node %i, with nothing to build with', (major) => {
  const directory = () => join(work, `on-${major}`)

  beforeAll(() => {
    mkdirSync(directory())
    // ffi-napi apart, whose page says how it is installed.
    const most = published.filter((name) => name !== 'driver-ffi-napi')
    npm(major, directory(), ...most.map(tarball))
    npm(major, directory(), '--ignore-scripts', tarball('driver-ffi-napi'))
  })

  it('that is so', () => {
    expect(node(major, 'console.log(process.versions.node)')).toMatch(new RegExp(`^${major}\\.`))
    for (const tool of ['cc', 'gcc', 'c++', 'clang', 'make', 'cmake', 'ld', 'python', 'python3']) {
      expect(run(major, work, 'sh', ['-c', `command -v ${tool}`]).status).not.toBe(0)
    }
    expect(readdirSync(installed(major)).sort()).toEqual([...published].sort())
  })

  it.each(['koffi', 'ffi-napi'])(
    'a region is made, and used by another process, on %s',
    (driver) => {
      const env = { MSHARE_FFI: driver }
      const made = node(
        major,
        `import { Region } from '@mshare/core'
      const region = Region.create('packed', { size: '1GiB', mode: 0o600 })
      region.map({ length: '64KiB', prot: 'rw' })
      const view = region.attach()
      Atomics.add(view.array(Int32Array, { length: 16 }), 3, 42)
      console.log(view.address)`,
        env,
      )
      const used = node(
        major,
        `import { Region } from '@mshare/core'
      const region = await Region.openAsync('packed')
      const view = region.attach()
      const words = view.array(Int32Array, { length: 16 })
      console.log(view.address, words[3])
      region.close()
      console.log(words.length)
      Region.unlink('packed')`,
        env,
      )
      expect(used).toBe(`${made.trim()} 42\n0\n`)
    },
  )

  it('mshare-run runs a program', () => {
    const script = 'echo $LD_PRELOAD; exit 3'
    const args = ['--no', 'mshare-run', 'sh', '-c', script]
    const { status, stdout, stderr } = run(major, directory(), 'npx', args)
    expect(`${stderr}${status}`).toMatch(
      /^mshare-run: sh runs as it is: there is no msharefs.*\n3$/m,
    )
    expect(realpathSync(stdout.trim())).toBe(installed(major, library, 'lib/libmshare-preload.so'))
  })

  it('npx mshare doctor finds all that is needed', () => {
    const json = output(major, directory(), 'npx', ['--no', 'mshare', 'doctor', '--json'])
    const { healthy, checks } = JSON.parse(json)
    expect(checks).toContainEqual({
      name: 'library',
      status: 'ok',
      text: installed(major, library, 'lib/libmshare.so.1'),
      remedy: null,
    })
    expect(checks).toContainEqual(expect.objectContaining({ name: 'drivers', status: 'ok' }))
    expect(checks).toContainEqual(expect.objectContaining({ name: 'trial', status: 'ok' }))
    expect(healthy).toBe(true)
    expect(output(major, directory(), 'npx', ['--no', 'mshare', 'doctor'])).toMatch(/^ok +trial /m)
  })

  // By its path: npx would put mshare-run on PATH.
  it('mshare run runs a program', () => {
    const mshare = join(directory(), 'node_modules/.bin/mshare')
    const args = ['run', '--quiet', '--', 'sh', '-c', 'echo $LD_PRELOAD; exit 3']
    expect(run(major, directory(), mshare, args)).toEqual({
      status: 3,
      stdout: `${installed(major, library, 'bin')}/../lib/libmshare-preload.so\n`,
      stderr: '',
    })
  })
})

describe('types', () => {
  beforeAll(() => {
    const types = join(work, `on-${newest}`, 'node_modules/@types')
    mkdirSync(types)
    symlinkSync(join(top, 'node_modules/@types/node'), join(types, 'node'))
  })

  const compile = (options: object) => {
    const directory = join(work, `on-${newest}`)
    writeFileSync(
      join(directory, 'consumer.ts'),
      `import { type Driver, MshareError, Region, setDriver } from '@mshare/core'
      import { createDriver } from '@mshare/driver-ffi-napi'
      const driver: Driver = createDriver()
      const region: Region = Region.openOrCreate('x', { size: '1GiB', mode: 0o600 })
      region.map({ length: '64KiB', prot: 'rw' })
      const numbers: Int32Array = region.attach().array(Int32Array, { length: 1 })
      export const made = region.infoAsync().then((info): number => info.window + numbers.length)
      export function why(error: unknown): string | undefined {
        return error instanceof MshareError ? error.hint : undefined
      }
      setDriver(driver.name === 'koffi' ? 'koffi' : 'ffi-napi')
      // @ts-expect-error: there are types at all
      region.map({ length: {} })\n`,
    )
    const compilerOptions = {
      ...{ strict: true, skipLibCheck: false, exactOptionalPropertyTypes: true, noEmit: true },
      ...{ noUncheckedIndexedAccess: true, isolatedModules: true, target: 'ES2022' },
      ...options,
    }
    const config = JSON.stringify({ compilerOptions, files: ['consumer.ts'] })
    writeFileSync(join(directory, 'tsconfig.json'), config)
    const { status, stdout } = spawnSync(join(top, 'node_modules/.bin/tsc'), [], {
      cwd: directory,
      encoding: 'utf8',
    })
    return { status, stdout }
  }
  it.each([
    ['Node', { module: 'NodeNext', types: ['node'] }],
    ['a bundler', { module: 'ESNext', moduleResolution: 'Bundler', types: ['node'] }],
    [
      'who has Node by the way',
      { module: 'NodeNext', types: [], lib: ['ES2022', 'ESNext.Disposable'] },
    ],
  ])('satisfy a strict program that checks libraries, too, for %s', (_, options) => {
    expect(compile(options)).toEqual({ status: 0, stdout: '' })
  })
})

describe('elsewhere', () => {
  const attempt = `
    const { Region } = await import('@mshare/core')
    try { Region.open('x') } catch (e) { console.log(e.code, e.message) }`

  it('npm leaves out what is for another C library, and use says what is missing', () => {
    const directory = join(work, 'on-musl')
    mkdirSync(directory)
    writeFileSync(
      join(directory, 'package.json'),
      JSON.stringify({
        dependencies: { '@mshare/core': `file:${tarball('core')}` },
        optionalDependencies: { [`@mshare/${library}`]: `file:${tarball(library)}` },
      }),
    )
    npm(newest, directory, '--libc=musl', '--ignore-scripts')
    expect(readdirSync(join(directory, 'node_modules/@mshare'))).toEqual(['core'])
    const musl = 'process.report.getReport = () => ({ header: {} });'
    expect(node(newest, musl + attempt, {}, directory)).toMatch(
      /^ERR_UNSUPPORTED_PLATFORM .*another C library.*Ways out/,
    )
    expect(node(newest, attempt, {}, directory)).toMatch(
      new RegExp(`^ERR_LIBRARY_NOT_FOUND .*@mshare/${library} is not installed.*Ways out`),
    )
  })

  it.each(['darwin', 'win32'])(
    'on %s it can be imported, and use says what it needs',
    (platform) => {
      const define = `Object.defineProperty(process, 'platform', { value: '${platform}' });`
      expect(node(newest, define + attempt)).toMatch(
        new RegExp(`^ERR_UNSUPPORTED_PLATFORM mshare needs Linux.*${platform}`),
      )
    },
  )

  it('a library of another version in the platform package: both versions', () => {
    const path = installed(newest, library, 'lib/libmshare.so.1')
    const contents = readFileSync(path, 'latin1')
    const other = version.replace(/\d$/, (patch: string) => `${(Number(patch) + 1) % 10}`)
    const tampered = contents.split(`\0${version}\0`)
    expect(tampered).toHaveLength(2)
    try {
      writeFileSync(path, tampered.join(`\0${other}\0`), 'latin1')
      const said = node(newest, attempt)
      expect(said).toMatch(/^ERR_LIBRARY_VERSION /)
      expect(said).toContain(`@mshare/core is version ${version}`)
      expect(said).toContain(`libmshare ${other}`)
    } finally {
      writeFileSync(path, contents, 'latin1')
    }
  })
})
