// SPDX-License-Identifier: MIT
//
// What the documentation says is so: links lead somewhere, errors are explained, pages are listed,
// commands and variables exist. That snippets run is snippets.test.ts.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  all,
  type Document,
  document,
  documents,
  pageName,
  pages,
  section,
  top,
} from './documents.js'

const read = (path: string) => readFileSync(join(top, path), 'utf8')

/** The text of all files below a directory whose name ends so. */
function sources(directory: string, ...endings: string[]): string {
  return readdirSync(join(top, directory), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && endings.some((ending) => entry.name.endsWith(ending)))
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8'))
    .join('\n')
}

const sorted = (names: Iterable<string>) => [...new Set(names)].sort()
const errnos = (text: string) => sorted(text.match(/\bE[A-Z0-9]{2,}\b/g) ?? [])

describe('man pages', () => {
  it('agree with the header and one another', ({ skip }) => {
    const result = spawnSync(join(top, 'libmshare/test/man-check'), { encoding: 'utf8' })
    if (result.status === 77) skip(result.stdout.trim())
    const complaints = result.stdout.split('\n').filter((line) => !line.startsWith('ok '))
    expect(`${result.stderr}${complaints.join('\n')}`).toMatch(/^1\.\.\d+\n$/)
    expect(result.status).toBe(0)
  })
})

describe('docs/errors.md', () => {
  const errors = document('docs/errors.md')
  const below = (heading: string) =>
    errors.text.split(/^## /m).find((part) => part.startsWith(heading)) ?? ''
  const rows = (text: string, name: RegExp) =>
    [...text.matchAll(new RegExp(`^\\| \`(${name.source})\``, 'gm'))].map((row) => row[1] ?? '')
  const explained = rows(errors.text.split(/^## /m)[0] ?? '', /E\w+/)
  const codes = rows(errors.text, /ERR_\w+/)
  const mentioned = errnos(
    // Bold words with an E in the pages: errors, and nothing else.
    pages.flatMap(({ text }) => text.match(/\*\*E[^*]+\*\*/g) ?? []).join(),
  )

  it('explains each errno of the man pages, and no other, in order', () => {
    expect(mentioned.length).toBeGreaterThan(30)
    expect(explained).toEqual(sorted(explained))
    expect(explained).toEqual(mentioned)
  })

  it('explains each errno in the sources', () => {
    const library = sources('libmshare/src', '.c', '.h')
    const kernel = sources('kernel/linux/mm/mshare', '.c').match(/-E[A-Z0-9]{2,}\b/g) ?? []
    const known = [
      ...explained,
      // What the library asks about and does not hand on; words; and what msharefs says to an ioctl
      // with a bad address or a number that it does not have.
      ...['EFAULT', 'ENOTTY', 'ENXIO', 'ENDED', 'END', 'EOF'],
    ]
    expect(kernel.length).toBeGreaterThan(30)
    expect(errnos(`${library} ${kernel.join(' ')}`).filter((e) => !known.includes(e))).toEqual([])
  })

  it('says which call gives which, as the man pages do', () => {
    const table = [...below('By call').matchAll(/^\| \[`(\w+)`\]\(\S+\)(.*?) \| (.*) \|$/gm)]
    const said = table.map(([, name, others, list]) => [`${name}${others}`, list])
    const wanted = pages
      .filter((page) => pageName(page).endsWith('.3'))
      .map((page) => {
        const names = /^(.*) - /m.exec(section(page, 'NAME'))?.[1]?.split(', ') ?? []
        const list = section(page, 'ERRORS').match(/^\*\*E[A-Z0-9]+\*\*$/gm) ?? []
        const shown = names.map((name, i) => (i ? `\`${name}\`` : name)).join(', ')
        return [
          shown,
          errnos(list.join())
            .map((e) => `\`${e}\``)
            .join(', ') || 'none',
        ]
      })
    expect(said).toEqual(wanted)
  })

  it('explains every code of the packages, and no other', () => {
    const packages = readdirSync(join(top, 'packages'))
      .filter((name) => existsSync(join(top, 'packages', name, 'src')))
      .map((name) => sources(`packages/${name}/src`, '.ts', '.cts'))
    const used = sorted(packages.join().match(/\bERR_[A-Z_]+\b/g) ?? []).filter(
      // Node's, and asked for only.
      (code) => code !== 'ERR_MODULE_NOT_FOUND',
    )
    expect(used).toContain('ERR_VIEW_LIVE')
    expect(used).toContain('ERR_KERNEL')
    expect(sorted(codes)).toEqual(used)
    expect(codes).toHaveLength(used.length)
  })

  it('has the exit statuses of npm run vm and mshare-run, as their own help has', () => {
    const help =
      sources('packages/vm/src', '.ts').split('The exit status is')[1]?.split('`')[0] ?? ''
    const statuses = [...help.matchAll(/^ {2}(\d+) /gm)].map((match) => match[1])
    expect(statuses.length).toBeGreaterThan(4)
    const vm = [...below('Of npm run vm').matchAll(/^\|[^|]*\| (\d+) \|/gm)].map((row) => row[1])
    expect([...new Set(vm)]).toEqual(statuses)

    const page = document('libmshare/man/mshare-run.1.md')
    const run = [...below('Of mshare-run').matchAll(/^\| (\d+) \|/gm)].map((row) => row[1])
    expect(run).toEqual(section(page, 'EXIT STATUS').match(/^\d+$/gm))
  })
})

describe('lists', () => {
  const links = ({ path, links }: Document) =>
    links.map((link) => join(dirname(path), link.split('#')[0] ?? ''))

  it('docs/README.md has every page of docs/', () => {
    const named = links(document('docs/README.md'))
    const wanted = documents
      .map(({ path }) => path)
      .filter((path) => /^docs\/([^/]+|benchmarks\/README|decisions\/README)(\.md)?$/.test(path))
      .filter((path) => path !== 'docs/README.md')
    expect(wanted).toContain('docs/faq.md')
    expect(wanted.filter((path) => !named.includes(path))).toEqual([])
  })

  it('decisions/README.md has every decision, in order', () => {
    const list = document('docs/decisions/README.md')
    const titles = documents
      .filter(({ path }) => /^docs\/decisions\/\d/.test(path))
      .map(({ path, text }) => {
        const [, number, title] = /^# (\d+)\. (.*)$/m.exec(text) ?? []
        return `| ${number} | [${title}](${relative('docs/decisions', path)}) |`
      })
    expect(titles.length).toBeGreaterThan(12)
    expect(list.text.match(/^\| \d.*$/gm)).toEqual(titles)
  })

  it('reference.md has every man page, with the names in it', () => {
    const { text } = document('docs/reference.md')
    const rows = pages.map((page) => {
      const [, names = '', about] = /^(.*?) - (.*)$/m.exec(section(page, 'NAME')) ?? []
      const number = pageName(page).split('.').at(-1)
      const shown = names.split(', ').map((name) => `${name}(${number})`)
      return `| [${shown.join(', ')}](../${page.path}) | ${about} |`
    })
    expect(rows.filter((row) => !text.includes(row))).toEqual([])
  })
})

describe('npm run docs', () => {
  let out: string
  let said: string

  beforeAll(() => {
    out = mkdtempSync(join(tmpdir(), 'mshare-pages-'))
    const result = spawnSync(process.execPath, [join(top, 'scripts/docs.mjs'), out], {
      encoding: 'utf8',
    })
    said = `${result.stdout}${result.stderr}`
  }, 180_000)

  afterAll(() => rmSync(out, { recursive: true, force: true }))

  it('says nothing but where it is: no link to nowhere, nothing public without a comment', () => {
    expect(said).toBe(`${join(out, 'index.html')}\n`)
  })

  it('makes a page of every man page, alias and document', () => {
    const man = readdirSync(join(top, 'libmshare/man')).map(
      (name) => `man/${name.replace(/\.md$/, '')}.html`,
    )
    const made = documents
      .filter(({ path }) => path.startsWith('docs/'))
      .map(({ path }) => `documents/${path.slice(0, -3).replaceAll('/', '_')}.html`)
    expect(man.length).toBeGreaterThan(20)
    expect([...man, ...made].filter((path) => !existsSync(join(out, path)))).toEqual([])
    expect(readFileSync(join(out, 'man/mshare_map.3.html'), 'utf8')).toContain('ETXTBSY')
  })

  it('reference.md names every class, method, property, function and type', () => {
    // Options and results are described in their own comments; of them the names are enough.
    const names = ['classes', 'functions', 'interfaces', 'types'].flatMap((kind) =>
      readdirSync(join(out, kind)).flatMap((file) => {
        const name = file.replace(/^.*\.(\w+)\.html$|\.html$/, '$1')
        if (kind !== 'classes') return [name]
        const html = readFileSync(join(out, kind, file), 'utf8')
        const members = [...html.matchAll(/class="tsd-panel tsd-member[^"]*".*?id="([a-z]\w*)"/gs)]
        return [name, ...members.map((member) => member[1] ?? '')]
      }),
    )
    const { text } = document('docs/reference.md')
    const missing = sorted(names)
      .filter(
        (name) => !/async$|dispose$|^constructor|^(message|name|stack)$|stackTrace/i.test(name),
      )
      .filter((name) => !new RegExp(`\\b${name}\\b`, 'i').test(text))
    expect(names.length).toBeGreaterThan(50)
    expect(names).toContain('openorcreate')
    expect(missing).toEqual([])
  })
})

describe('links', () => {
  it.each(all.filter(({ links }) => links.length > 0))(
    'of $path lead somewhere',
    ({ path, links }) => {
      const broken = links
        .filter((link) => !/^[a-z]+:/.test(link))
        .filter((link) => {
          const [file, anchor] = link.split('#') as [string, string | undefined]
          const target = file ? join(top, dirname(path), file) : join(top, path)
          const inside = relative(top, target)
          if (inside.startsWith('..') || !existsSync(target)) return true
          if (anchor === undefined) return false
          return !all.find((one) => one.path === inside)?.anchors.has(anchor)
        })
      expect(broken).toEqual([])
    },
  )

  it('to elsewhere are well-formed, and to hosts that are known', () => {
    const hosts = [
      'nodejs.org',
      'github.com',
      'www.conventionalcommits.org',
      'semver.org',
      'keepachangelog.com',
    ]
    const elsewhere = all.flatMap(({ links }) => links).filter((link) => /^[a-z]+:/.test(link))
    const odd = elsewhere.filter((link) => {
      if (!URL.canParse(link)) return true
      const { protocol, host, username, search } = new URL(link)
      return protocol !== 'https:' || !hosts.includes(host) || username !== '' || search !== ''
    })
    expect(odd).toEqual([])
  })

  it('to pictures have words for those who do not see them', () => {
    const pictures = documents.flatMap(({ path, text }) =>
      [...text.matchAll(/!\[([^\]]*)\]\(([^)]*)\)/g)].map((match) => ({
        at: `${path}: ${match[2]}`,
        words: match[1] ?? '',
      })),
    )
    expect(pictures.length).toBeGreaterThan(5)
    expect(pictures.filter(({ words }) => words.length < 10)).toEqual([])
  })
})

describe('documents', () => {
  it('name npm scripts that exist', () => {
    const { scripts } = JSON.parse(read('package.json'))
    const named = documents
      .flatMap(({ text }) => [...text.matchAll(/`npm (?:run )?([a-z:]+)/g)])
      .map((match) => match[1] ?? '')
      // npm's own.
      .filter((name) => !['install', 'ci', 'pack', 'publish', 'version'].includes(name))
    expect(named).toContain('demo')
    expect(named.filter((name) => !(name in scripts))).toEqual([])
  })

  it('name environment variables that the sources know', () => {
    const variable = 'MSHARE_(ROOT|LIBRARY|FFI|CACHE|VM|PRELOAD_[A-Z]+|TEST_[A-Z]+|SOAK_[A-Z]+)'
    const args = ['grep', '-hoE', '--untracked', `\\b${variable}\\b`, '--', ':!*.md']
    const known = spawnSync('git', args, { cwd: top, encoding: 'utf8' }).stdout.split('\n')
    const named = all.flatMap(({ text }) => text.match(new RegExp(`\\b${variable}\\b`, 'g')) ?? [])
    expect(named).toContain('MSHARE_ROOT')
    expect(sorted(named).filter((name) => !known.includes(name))).toEqual([])
  })
})
