// SPDX-License-Identifier: MIT

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Region } from '@mshare/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { dumps, type Library, makeLibrary, NAME, numbers, tool } from './library.js'
import { LANGUAGES, type Language, ON_MSHAREFS, output, ownRoot, Process, run } from './util.js'

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
