// SPDX-License-Identifier: MIT
//
// What the documentation says is so: snippets run as they stand, examples of man pages too, links
// lead somewhere, errors are explained, commands exist.

import { spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const top = fileURLToPath(new URL('..', import.meta.url))
const libmshare = join(top, 'libmshare')
const man = join(libmshare, 'man')
const readme = readFileSync(join(top, 'README.md'), 'utf8')
const pages = readdirSync(man)
  .filter((name) => name.endsWith('.md'))
  .map((name) => ({ name: name.slice(0, -3), text: readFileSync(join(man, name), 'utf8') }))
const documents = [
  'README.md',
  ...readdirSync(join(top, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
].map((path) => ({ path, text: readFileSync(join(top, path), 'utf8') }))

/** The fenced code blocks of one language. */
function blocks(text: string, language: string): string[] {
  return [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)]
    .filter((match) => match[1] === language)
    .map((match) => match[2] ?? '')
}

function only<T>(list: T[]): T {
  expect(list).toHaveLength(1)
  return list[0] as T
}

let work: string
let roots: string

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'mshare-docs-'))
  roots = mkdtempSync('/dev/shm/mshare-docs-')
  // What `make install` would put down, for the library that has been built here.
  const template = readFileSync(join(libmshare, 'libmshare.pc.in'), 'utf8')
  writeFileSync(
    join(work, 'libmshare.pc'),
    template
      .replaceAll('@INCLUDEDIR@', join(libmshare, 'include'))
      .replaceAll('@LIBDIR@', join(libmshare, 'build'))
      .replaceAll(/@\w+@/g, '0'),
  )
  writeFileSync(join(work, 'package.json'), '{ "type": "module" }\n')
})

afterAll(() => {
  rmSync(work, { recursive: true, force: true })
  rmSync(roots, { recursive: true, force: true })
})

/** An environment with a root of its own, for programs against the library that is built. */
function environment(root: string): NodeJS.ProcessEnv {
  const path = join(roots, root)
  mkdirSync(path, { recursive: true })
  return {
    ...process.env,
    MSHARE_ROOT: path,
    PKG_CONFIG_PATH: work,
    LD_LIBRARY_PATH: join(libmshare, 'build'),
  }
}

function run(root: string, command: string, ...args: string[]): string {
  return runIn(work, root, command, ...args)
}

function runIn(cwd: string, root: string, command: string, ...args: string[]): string {
  const result = spawnSync(command, args, {
    cwd,
    env: environment(root),
    encoding: 'utf8',
    timeout: 150_000,
  })
  expect(result.error).toBeUndefined()
  expect(`${result.stderr}status ${result.status} signal ${result.signal}`).toBe(
    'status 0 signal null',
  )
  return result.stdout
}

describe('README', () => {
  const runTypeScript = (root: string) =>
    runIn(top, root, process.execPath, '--import', 'tsx', join(work, 'hello.ts'))

  beforeAll(() => {
    writeFileSync(join(work, 'hello.c'), only(blocks(readme, 'c')))
    writeFileSync(join(work, 'hello.ts'), only(blocks(readme, 'ts')))
    const lines = blocks(readme, 'sh').flatMap((block) => block.split('\n'))
    // The line as it stands, up to where it runs the program.
    const compile = only(lines.filter((line) => line.startsWith('cc hello.c'))).split(' && ')[0]
    run('unused', 'sh', '-c', compile as string)
  })

  it.each(['C', 'TypeScript'])('both snippets share one region, %s first', (first) => {
    const runs = {
      C: () => run(first, join(work, 'hello')),
      TypeScript: () => runTypeScript(first),
    }
    const second = first === 'C' ? 'TypeScript' : 'C'
    const said = [runs[first as 'C'](), runs[second](), runs[first as 'C']()]
    const address = /counted at (0x[0-9a-f]+)$/m.exec(said[0] as string)?.[1]

    expect(address).toBeDefined()
    expect(said).toEqual([1, 2, 3].map((n) => `run ${n}, counted at ${address}\n`))
  })

  it('the C snippet compiles without a warning', () => {
    run(
      'unused',
      'sh',
      '-c',
      'cc -Wall -Wextra -Werror -c hello.c $(pkg-config --cflags libmshare)',
    )
  })

  it('the TypeScript snippet has no type errors', () => {
    const typeRoots = [join(top, 'node_modules/@types')]
    writeFileSync(
      join(work, 'tsconfig.json'),
      JSON.stringify({
        extends: join(top, 'tsconfig.json'),
        compilerOptions: { typeRoots },
        include: ['hello.ts'],
      }),
    )
    run('unused', join(top, 'node_modules/.bin/tsc'), '-p', 'tsconfig.json')
  }, 180_000)
})

describe('man pages', () => {
  it('agree with the header and one another', ({ skip }) => {
    const result = spawnSync(join(libmshare, 'test/man-check'), { encoding: 'utf8' })
    if (result.status === 77) skip(result.stdout.trim())
    const complaints = result.stdout.split('\n').filter((line) => !line.startsWith('ok '))
    expect(`${result.stderr}${complaints.join('\n')}`).toMatch(/^1\.\.\d+\n$/)
    expect(result.status).toBe(0)
  })

  // mshare.7 first: it leaves the region that mshare_attach.3 is shown.
  const examples = pages
    .map(({ name, text }) => ({ name, code: blocks(text.split(/^# EXAMPLE$/m)[1] ?? '', 'c')[0] }))
    .filter(({ code }) => code !== undefined)
    .sort((a, b) => Number(b.name === 'mshare.7') - Number(a.name === 'mshare.7'))

  it.each(examples)('the example of $name does what it says', ({ name, code }) => {
    writeFileSync(join(work, `${name}.c`), code as string)
    const flags = '$(pkg-config --cflags --libs libmshare)'
    run('man', 'sh', '-c', `cc -D_GNU_SOURCE ${name}.c ${flags} -o ${name}`)
    run('man', join(work, name), ...(name === 'mshare_attach.3' ? ['runs'] : []))
  })

  it('have examples', () => {
    expect(examples.length).toBeGreaterThan(8)
    expect(examples[0]?.name).toBe('mshare.7')
  })
})

describe('errors', () => {
  const errnos = (text: string) => new Set(text.match(/\bE[A-Z0-9]{3,}\b/g))
  // Bold words with an E in the pages: errors, and nothing else.
  const mentioned = errnos(pages.flatMap(({ text }) => text.match(/\*\*E[^*]+\*\*/g) ?? []).join())
  const explained = errnos(
    [...readFileSync(join(top, 'docs/errors.md'), 'utf8').matchAll(/^\| `(E\w+)`/gm)].join(),
  )

  it('in man pages are explained in docs/errors.md', () => {
    expect(mentioned.size).toBeGreaterThan(30)
    expect([...mentioned].filter((name) => !explained.has(name))).toEqual([])
  })

  it('in docs/errors.md are in some man page', () => {
    expect([...explained].filter((name) => !mentioned.has(name))).toEqual([])
  })
})

describe('documents', () => {
  it('explain every code of @mshare/core', () => {
    const core = join(top, 'packages/core/src')
    const codes = readdirSync(core)
      .flatMap((name) => readFileSync(join(core, name), 'utf8').match(/\bERR_[A-Z_]+\b/g) ?? [])
      // Node's own.
      .filter((code) => !/^ERR_(INVALID_ARG_\w+|OUT_OF_RANGE)$/.test(code))
    const errors = readFileSync(join(top, 'docs/errors.md'), 'utf8')
    expect(codes).toContain('ERR_VIEW_LIVE')
    expect([...new Set(codes)].filter((code) => !errors.includes(`\`${code}\``))).toEqual([])
  })

  /** As the usual renderers make anchors: lower case, no punctuation, hyphens for blanks. */
  const anchors = (text: string) =>
    [...text.replaceAll(/^```.*?^```$/gms, '').matchAll(/^#+ (.*)$/gm)].map((match) =>
      (match[1] ?? '')
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    )

  it.each(documents)('links of $path lead somewhere', ({ path, text }) => {
    const broken = [...text.replaceAll(/^```.*?^```$/gms, '').matchAll(/\]\(([^)\s]+)\)/g)]
      .map((match) => match[1] ?? '')
      .filter((link) => !/^[a-z]+:/.test(link))
      .filter((link) => {
        const [file, anchor] = link.split('#') as [string, string | undefined]
        const target = file ? join(top, dirname(path), file) : join(top, path)
        if (relative(top, target).startsWith('..') || !existsSync(target)) return true
        return anchor !== undefined && !anchors(readFileSync(target, 'utf8')).includes(anchor)
      })
    expect(broken).toEqual([])
  })

  it('name npm scripts that exist', () => {
    const { scripts } = JSON.parse(readFileSync(join(top, 'package.json'), 'utf8'))
    const named = documents
      .flatMap(({ text }) => [...text.matchAll(/`npm (?:run )?([a-z:]+)/g)])
      .map((match) => match[1] ?? '')
    expect(named).toContain('demo')
    expect(named.filter((name) => !(name in scripts))).toEqual([])
  })

  it('name environment variables that the sources know', () => {
    const selftests = 'kernel/linux/tools/testing/selftests/mshare'
    const sources = ['libmshare/src', 'packages/core/src', selftests]
      .flatMap((directory) =>
        readdirSync(join(top, directory), { recursive: true, withFileTypes: true }),
      )
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8'))
      .join()
    const named = [...documents, ...pages].flatMap(
      ({ text }) => text.match(/\bMSHARE_(ROOT|LIBRARY|FFI|TEST_[A-Z]+)\b/g) ?? [],
    )
    expect(named).toContain('MSHARE_ROOT')
    expect([...new Set(named)].filter((name) => !sources.includes(name))).toEqual([])
  })
})
