// SPDX-License-Identifier: MIT
//
// A small directory to index, what the index of it must be, and the program that makes it.

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { expect } from 'vitest'
import { command, type Language, output } from './util.js'

/** Numbers that are the same in every run. */
export function random(seed: number): (below: number) => number {
  return (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
    return Math.floor((seed / 2 ** 32) * below)
  }
}

export interface Library {
  directory: string
  files: number
  text: number
  /** Files of text with a word in them. */
  withWords: number
  /** "FILES TIMES WORD", sorted. */
  dump: string[]
  [Symbol.dispose](): void
}

/** What the index must say: words by splitting, counts by sorting, nothing by hashing. */
function expected(texts: Buffer[]): { dump: string[]; withWords: number } {
  const all: string[] = []
  texts.forEach((text, i) => {
    for (const run of text.toString('latin1').split(/[^A-Za-z0-9\x80-\xff]+/)) {
      if (run.length < 2 || run.length > 63) continue
      const word = run.replace(/[A-Z]/g, (letter) => letter.toLowerCase())
      all.push(`${word} ${i}`)
    }
  })
  all.sort()
  const dump = new Map<string, { files: Set<string>; times: number }>()
  for (const line of all) {
    const [word, file] = line.split(' ') as [string, string]
    const entry = dump.get(word) ?? { files: new Set(), times: 0 }
    entry.files.add(file)
    entry.times++
    dump.set(word, entry)
  }
  return {
    dump: [...dump].map(([word, { files, times }]) => `${files.size} ${times} ${word}`).sort(),
    withWords: new Set(all.map((line) => line.split(' ')[1])).size,
  }
}

export function makeLibrary(files: number, wordsPerFile: number): Library {
  const directory = mkdtempSync(join(tmpdir(), 'mshare-library-'))
  const next = random(files)
  const texts: Buffer[] = []
  const syllables = [
    'map',
    'Share',
    'win',
    'dow',
    'PAGE',
    'ta',
    'ble',
    'fo',
    'r',
    'k',
    '2',
    'ß',
    'é',
  ]
  const word = () =>
    Array.from({ length: 1 + next(4) }, () => syllables[next(syllables.length)]).join('')
  const separators = [' ', '\n', ', ', '-', '\t', '. ', '_', '\x7f']

  for (let i = 0; i < files; i++) {
    const folder = join(directory, `shelf ${i % 7}`, i % 3 ? 'row' : '')
    mkdirSync(folder, { recursive: true })
    let text = ''
    for (let n = next(2 * wordsPerFile); n > 0; n--) {
      text += word() + separators[next(separators.length)]
    }
    const bytes = Buffer.from(text)
    texts.push(bytes)
    if (i % 4 === 0) writeFileSync(join(folder, `${i}.gz`), gzipSync(bytes))
    else writeFileSync(join(folder, `${i}.txt`), bytes)
  }

  let more = 0
  const add = (name: string | Buffer, bytes: Buffer | string, isText = true) => {
    const path = Buffer.concat([Buffer.from(`${directory}/`), Buffer.from(name)])
    writeFileSync(path, bytes)
    more++
    if (isText) texts.push(Buffer.from(bytes))
  }
  // The limits of a word, a run that is longer than one, and a text that ends in a word.
  add('lengths', `a bb ${'c'.repeat(63)} ${'d'.repeat(64)} ${'e'.repeat(1000)} end`)
  add('empty', '')
  add('latin1', Buffer.from('na\xefve Na\xefve NA\xcfVE', 'latin1'))
  add(Buffer.from([0x6e, 0xff, 0xfe, 0x0a]), 'a name that is no UTF-8, and has a newline in it')
  add('not-really.gz', 'plain text under the wrong name')
  add('binary', Buffer.from('before\0after'), false)
  add('broken.gz', gzipSync(Buffer.from('word '.repeat(1000))).subarray(0, 30), false)
  const most = Buffer.alloc(16 << 20, '\n')
  most.write('the last word', most.length - 13)
  add('just-so', most)
  add('large', Buffer.concat([most, Buffer.from('s')]), false)
  add('large.gz', gzipSync(Buffer.concat([most, Buffer.from('s')])), false)
  // None of these is listed: no link is followed.
  symlinkSync(join(directory, 'lengths'), join(directory, 'link'))
  symlinkSync(directory, join(directory, 'loop'))

  return {
    directory,
    files: files + more,
    text: texts.length,
    ...expected(texts),
    [Symbol.dispose]: () => rmSync(directory, { recursive: true }),
  }
}

export const NAME = 'words'

export function tool(language: Language, ...args: string[]): string[] {
  return [...command(language, 'shared-index', 'main'), ...args]
}

const sorted = (text: string) => text.trimEnd().split('\n').sort()

/** What a reader in both languages has; they must not differ. */
export async function dumps(): Promise<string[]> {
  const [one, other] = await Promise.all([
    output(tool('C', 'dump', NAME)),
    output(tool('TypeScript', 'dump', NAME)),
  ])
  expect(sorted(one as string)).toEqual(sorted(other as string))
  return sorted(one as string)
}

/** Files and times of an answer. */
export function numbers(answer: string): [number, number] {
  const match = /^"[^"]*": (\d+) files, (\d+) times(; most in .*)?$/.exec(answer.trimEnd())
  expect(match, answer).not.toBeNull()
  return [Number(match?.[1]), Number(match?.[2])]
}
