// SPDX-License-Identifier: MIT

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Region } from '@mshare/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Library, makeLibrary, random } from './library.js'
import {
  command,
  LANGUAGES,
  type Language,
  ON_MSHAREFS,
  output,
  ownRoot,
  Process,
  run,
} from './util.js'

const NAME = 'words'

function tool(language: Language, ...args: string[]): string[] {
  return [...command(language, 'shared-index', 'main'), ...args]
}

const sorted = (text: string) => text.trimEnd().split('\n').sort()

/** What a reader in both languages has; they must not differ. */
async function dumps(): Promise<string[]> {
  const [one, other] = await Promise.all([
    output(tool('C', 'dump', NAME)),
    output(tool('TypeScript', 'dump', NAME)),
  ])
  expect(sorted(one as string)).toEqual(sorted(other as string))
  return sorted(one as string)
}

/** Files and times of an answer. */
function numbers(answer: string): [number, number] {
  const match = /^"[^"]*": (\d+) files, (\d+) times(; most in .*)?$/.exec(answer.trimEnd())
  expect(match, answer).not.toBeNull()
  return [Number(match?.[1]), Number(match?.[2])]
}

describe('shared-index', () => {
  ownRoot()
  let library: Library
  beforeAll(() => {
    library = makeLibrary(250, 600)
  })
  afterAll(() => library[Symbol.dispose]())

  const pairs: [Language[], Language][] = [
    [['C', 'C', 'C', 'C'], 'TypeScript'],
    [['TypeScript', 'TypeScript', 'TypeScript', 'TypeScript'], 'C'],
    [['C', 'TypeScript', 'C', 'TypeScript'], 'C'],
  ]
  for (const [writers, readerLanguage] of pairs) {
    it(`writers in ${writers.join(', ')}; a reader in ${readerLanguage} follows their pointers meanwhile`, async () => {
      const creator = writers[1] as Language
      const created = await output(tool(creator, 'create', NAME, library.directory))
      expect(created).toMatch(
        new RegExp(`^created files=${library.files} base=0x\\w+ window=4294967296 `),
      )

      const reader = new Process(tool(readerLanguage, 'ask', NAME))
      expect(numbers(await reader.ask('map*'))).toEqual([0, 0])
      const processes = writers.map((language) => new Process(tool(language, 'write', NAME)))
      let running = true
      const all = Promise.all(processes.map(({ ended }) => ended)).finally(() => {
        running = false
      })
      // What it answers meanwhile only grows, and never beyond what is there in the end.
      let last: [number, number] = [0, 0]
      while (running) {
        const now = numbers(await reader.ask('map*'))
        expect(now[0]).toBeGreaterThanOrEqual(last[0])
        expect(now[1]).toBeGreaterThanOrEqual(last[1])
        last = now
      }
      let files = 0
      for (const { how, errors, output } of await all) {
        expect(`${how} ${errors}`).toBe('0 ')
        files += Number(/^wrote files=(\d+) /.exec(output)?.[1])
      }
      expect(files).toBe(library.files)

      const mapped = library.dump.filter((line) => line.split(' ')[2]?.startsWith('map'))
      const times = mapped.reduce((sum, line) => sum + Number(line.split(' ')[1]), 0)
      const end = numbers(await reader.ask('map*'))
      expect(end[1]).toBe(times)
      expect(end[0]).toBeGreaterThanOrEqual(last[0])

      // Everybody had it at the same address.
      const memory = await reader.ask('memory?')
      const base = /base=(0x\w+)/.exec(created)?.[1]
      expect(/base=(0x\w+)/.exec(memory)?.[1]).toBe(base)
      for (const { output } of await all) expect(/base=(0x\w+)/.exec(output)?.[1]).toBe(base)
      reader.end()
      expect((await reader.ended).how).toBe(0)

      expect(await dumps()).toEqual(library.dump)
      for (const language of LANGUAGES) {
        const status = await output(tool(language, 'status', NAME))
        expect(status).toMatch(
          `files=${library.files} text=${library.text} binary=1 unreadable=1 too_large=2 `,
        )
        expect(status).toMatch(ON_MSHAREFS ? / page_tables=[1-9]\d+ / : / page_tables=own /)
      }
      await output(tool(readerLanguage, 'rm', NAME))
    })
  }

  it('answers queries with what grep finds, the same in both languages', async () => {
    using small = makeLibrary(60, 200)
    await output(tool('C', 'create', NAME, small.directory))
    await output(tool('C', 'write', NAME))
    const queries = ['mapshare', 'MapShare', 'window', 'page2', 'map-page', 'share win*', 'naïve']
    queries.push('na\xefve', 'nosuchword', '', '-', '*', 'end the*', 'a')
    const answers = await Promise.all(
      LANGUAGES.map((language) => output(tool(language, 'ask', NAME, ...queries))),
    )
    expect(answers[0]).toBe(answers[1])
    const lines = (answers[0] as string).trimEnd().split('\n')
    expect(lines.length).toBe(queries.length)
    expect(lines[0]).toBe(lines[1])

    // grep looks at the files by itself, in a copy where nothing is compressed.
    const plain = `${small.directory}/plain`
    const copy = `cd "$1" && mkdir plain && cp -r [!p]* plain && rm plain/broken.gz plain/large* plain/binary
      find plain -name '*.gz' ! -name not-really.gz -exec gunzip {} +`
    execFileSync('sh', ['-c', copy, 'sh', small.directory])
    const count = (word: string) => {
      const letter = '[A-Za-z0-9\\x80-\\xff]'
      const script = `find "$1" -type f -print0 |
        LC_ALL=C xargs -0 grep -aoPiH "$2" | sed 's/:[^:]*$//' | sort | uniq -c`
      const pattern = `(?<!${letter})${word}(?!${letter})`
      const found = execFileSync('sh', ['-c', script, 'sh', plain, pattern], {
        encoding: 'latin1',
      })
      const counts = found
        .trimEnd()
        .split('\n')
        .map((line) => Number.parseInt(line, 10))
      return [counts.length, counts.reduce((sum, n) => sum + n, 0)]
    }
    expect(numbers(lines[0] as string)).toEqual(count('mapshare'))
    expect(numbers(lines[2] as string)).toEqual(count('window'))
    expect(numbers(lines[3] as string)).toEqual(count('page2'))
    expect(lines[8]).toBe('"nosuchword": 0 files, 0 times')
    expect(lines[11]?.split(';')[0]).toBe(
      `"*": ${small.withWords} files, ${small.dump.reduce((sum, line) => sum + Number(line.split(' ')[1]), 0)} times`,
    )
    expect(lines[12]).toMatch(/^"end the\*": 0 files, 0 times$/)
    await output(tool('C', 'rm', NAME))
  })

  for (const language of LANGUAGES) {
    it(`in ${language}: writers killed midway leave a whole index to the others`, async () => {
      await output(tool(language, 'create', NAME, library.directory))
      // Killed halfway through a file, and between taking a chunk and mapping it.
      const doomed = [
        ['--die-in-file', '1', 'write', NAME],
        ['--die-in-file', '7', 'write', NAME],
        ['--die-in-chunk', '1', 'write', NAME],
        ['--die-in-chunk', '2', 'write', NAME],
      ].map((args) => run(tool(language, ...args)))
      for (const { how } of await Promise.all(doomed)) expect(how).toBe('SIGKILL')
      await Promise.all(LANGUAGES.map((other) => output(tool(other, 'write', NAME))))
      expect(await dumps()).toEqual(library.dump)
      await output(tool(language, 'rm', NAME))
    })

    it(`in ${language}: a writer killed from outside at any moment leaves a whole index`, async () => {
      await output(tool(language, 'create', NAME, library.directory))
      const reader = new Process(tool(language, 'ask', NAME))
      const victim = new Process(tool(language, 'write', NAME))
      const others = LANGUAGES.map((other) => output(tool(other, 'write', NAME)))
      // They are at work once there is something.
      while (numbers(await reader.ask('*'))[0] === 0);
      victim.kill('SIGKILL')
      await victim.ended
      await Promise.all(others)
      expect(await dumps()).toEqual(library.dump)
      reader.end()
      await output(tool(language, 'rm', NAME))
    })

    it(`in ${language}: an index that outgrows its window is refused, and stays readable`, async () => {
      await output(tool('C', '--window', '1', 'create', NAME, library.directory))
      {
        using region = Region.open(NAME)
        using attachment = region.attach()
        const header = attachment.array(BigUint64Array, { offset: 0, length: 6 })
        Atomics.store(header, 2, 1022n) // chunks: as if all but two were taken
      }
      const { how, errors } = await run(tool(language, 'write', NAME))
      expect(how).toBe(1)
      expect(errors).toBe('shared-index: the index is full: its window has 1024 MiB\n')
      expect(numbers(await output(tool(language, 'ask', NAME, '*')))[0]).toBeGreaterThan(0)
      await output(tool(language, 'rm', NAME))
    })
  }

  it('an index that lies is an error in both languages, never a crash or a circle', async () => {
    const small = makeLibrary(30, 60)
    try {
      await output(tool('C', '--window', '1', 'create', NAME, small.directory))
    } finally {
      await output(tool('C', 'write', NAME))
      small[Symbol.dispose]()
    }
    using region = Region.open(NAME)
    using attachment = region.attach()
    const mapped = Number(region.info().mapped)
    const cells = attachment.array(BigUint64Array, { offset: 0, length: mapped / 8 })
    const whole = cells.slice()
    const window = Number(region.info().window)
    const base = attachment.address
    const used = whole.findLastIndex((cell) => cell !== 0n)
    const next = random(4711)
    const outcomes = new Set<string>()

    const lie = async (change: () => void) => {
      change()
      const tries = LANGUAGES.flatMap((language) =>
        [['dump'], ['ask', 'map*', '*'], ['status']].map(async ([what, ...queries]) => {
          const { how, errors } = await run(tool(language, what as string, NAME, ...queries))
          expect([0, 1], `${language} ${what}: ${how} ${errors}`).toContain(how)
          if (how === 1) expect(errors).toMatch(/^shared-index: (the index is corrupt|region ")/)
          outcomes.add(`${what} ${how}`)
        }),
      )
      await Promise.all(tries)
      cells.set(whole)
    }
    // Some that are sure to hurt: no magic, a root that points to itself, outside, into a hole.
    await lie(() => cells.fill(0n, 0, 1))
    await lie(() => cells.fill(base + 24n, 3, 4))
    await lie(() => cells.fill(0xdead_beef_dead_beefn, 3, 4))
    await lie(() => cells.fill(base + BigInt(window - 8), 3, 4))
    await lie(() => cells.fill(base + BigInt(mapped), 4, 5))
    // And some that may: pointers to anywhere in the window, to other objects, noise.
    for (let round = 0; round < 3; round++) {
      await lie(() => {
        for (let i = 0; i < 200; i++) {
          const at = 6 + next(used - 6)
          const to = [
            base + BigInt(next(window)),
            base + BigInt(next(used) * 8),
            BigInt(next(2 ** 32)) << BigInt(next(32)),
            whole[next(used)] as bigint,
          ]
          cells[at] = to[next(to.length)] as bigint
        }
      })
    }
    expect(outcomes).toContain('dump 1')
    expect(outcomes).toContain('status 1')
    await output(tool('C', 'rm', NAME))
  })

  it('is refused where there is none, and on a region that is something else', async () => {
    for (const language of LANGUAGES) {
      const none = await run(tool(language, 'ask', 'nothing', 'word'))
      expect(none.how).toBe(1)
      expect(none.errors).toMatch(/^shared-index: .*nothing/)
      expect((await run(tool(language))).how).toBe(2)
      expect((await run(tool(language, 'write'))).how).toBe(2)
      expect((await run(tool(language, '--window', 'x', 'create', NAME, '/tmp'))).how).toBe(2)
      expect((await run(tool(language, '--nonsense', 'status', NAME))).how).toBe(2)
      const missing = await run(tool(language, 'create', NAME, '/no/such/directory'))
      expect(missing.how).toBe(1)
      expect(missing.errors).toMatch(/no\/such\/directory/)
    }
    using region = Region.create('other', { size: '1GiB', mode: 0o600 })
    for (const language of LANGUAGES) {
      const { how, errors } = await run(tool(language, 'status', 'other'))
      expect(how).toBe(1)
      expect(errors).toBe('shared-index: region "other" holds no index (or not yet)\n')
    }
    Region.unlink('other')
    region.close()
  })

  it('says the same of the format in C and in TypeScript', () => {
    const header = readFileSync(join(import.meta.dirname, '../../c/shared-index/index.h'), 'utf8')
    const layout = readFileSync(join(import.meta.dirname, '../shared-index/layout.ts'), 'utf8')
    const magic = /INDEX_MAGIC (0x\w+?)ULL/.exec(header)?.[1]
    expect(magic).toBeDefined()
    expect(layout).toContain(`MAGIC = ${magic}n`)
  })
})

describe('demo', () => {
  ownRoot()

  it('shows, checks and cleans up', async () => {
    using library = makeLibrary(300, 300)
    const text = await output([...command('TypeScript', 'shared-index', 'demo'), library.directory])
    expect(text).toContain('both readers give the same numbers')
    // How many page tables are shared, or would be.
    expect(text).toMatch(
      ON_MSHAREFS
        ? /Back end: msharefs: \d+ page tables \(\d+ KiB\), shared by all: [4-7] attachments/
        : /Back end: shm: .*\nOn msharefs there would be one set: about \d+ KiB/,
    )
    const bases = [...text.matchAll(/^ {2}(?:writer|reader|demo) in .*?(0x\w+)/gm)].map((m) => m[1])
    expect(bases.length).toBe(7)
    expect(new Set(bases).size).toBe(1)
  })

  it('removes its region and its processes on SIGINT', async () => {
    using library = makeLibrary(300, 300)
    const demo = new Process([...command('TypeScript', 'shared-index', 'demo'), library.directory])
    for (let line = ''; !line.startsWith('Region "'); line = await demo.line());
    demo.kill('SIGINT')
    expect((await demo.ended).how).toBe(130)
    // That the region is gone is seen after every test.
  })

  it('fails without files', async () => {
    const { how, errors } = await run([
      ...command('TypeScript', 'shared-index', 'demo'),
      '/proc/self/task/nothing',
    ])
    expect(how).toBe(1)
    expect(errors).toMatch(/^demo: /)
  })
})
