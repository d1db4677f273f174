// SPDX-License-Identifier: MIT
//
// Readers: queries, the whole index as text, how far it is. All on a descriptor opened read-only.

import { createInterface } from 'node:readline'
import { Index } from './index.js'
import { LETTER, READING, Status } from './layout.js'
import { memoryLine, memoryStatus } from './memory.js'

/** Files (by where they are) and how often each has what was asked for. */
type Hits = Map<number, number>

function wordHits(index: Index, word: number, hits: Hits): void {
  index.eachPosting(word, (file, count) => hits.set(file, (hits.get(file) ?? 0) + count))
}

function termHits(index: Index, text: string, prefix: boolean): Hits {
  const hits: Hits = new Map()
  if (prefix) {
    index.eachWord((word, other) => {
      if (other.startsWith(text)) wordHits(index, word, hits)
    })
  } else {
    const word = index.find(Buffer.from(text, 'latin1'))
    if (word !== 0) wordHits(index, word, hits)
  }
  return hits
}

/** What comes from the region may not talk to the terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it is about
const printable = (text: string): string => text.replace(/[\x00-\x1f\x7f]/g, '?')

/** The answer to a query, one line. Text goes in and comes out one character a byte. */
export function answer(index: Index, query: string): string {
  query = query.replace(/[A-Z]+/g, (capitals) => capitals.toLowerCase())
  const terms: { text: string; prefix: boolean }[] = []
  for (let i = 0; i < query.length; i++) {
    const start = i
    while (i < query.length && LETTER[query.charCodeAt(i)] !== 0) i++
    const prefix = query[i] === '*'
    if (i > start || prefix) terms.push({ text: query.slice(start, i), prefix })
  }
  let hits: Hits = new Map()
  terms.forEach(({ text, prefix }, i) => {
    const more = termHits(index, text, prefix)
    if (i === 0) hits = more
    else {
      const both: Hits = new Map()
      for (const [file, count] of hits) {
        const other = more.get(file)
        if (other !== undefined) both.set(file, count + other)
      }
      hits = both
    }
  })
  let total = 0
  let third = 0
  const counts: number[] = []
  for (const count of hits.values()) {
    total += count
    counts.push(count)
  }
  counts.sort((a, b) => b - a)
  third = counts[2] ?? 0
  const most = [...hits]
    .filter(([, count]) => count >= third)
    .map(([file, count]) => ({ path: index.pathOf(file), count }))
    .sort((a, b) => b.count - a.count || (a.path < b.path ? -1 : 1))
    .slice(0, 3)
    .map(({ path, count }) => `${printable(path)} (${count})`)
  const where = most.length > 0 ? `; most in ${most.join(', ')}` : ''
  return `"${query}": ${hits.size} files, ${total} times${where}`
}

function print(line: string): void {
  process.stdout.write(`${line}\n`, 'latin1')
}

export async function ask(name: string, queries: string[]): Promise<void> {
  const tables = memoryStatus('VmPTE')
  const index = Index.open(name, 'r')
  for (const query of queries) print(answer(index, Buffer.from(query).toString('latin1')))
  if (queries.length === 0) {
    process.stdin.setEncoding('latin1')
    for await (const line of createInterface({ input: process.stdin, terminal: false })) {
      print(line === 'memory?' ? memoryLine(index, tables) : answer(index, line))
    }
  }
  index.close()
}

export function dump(name: string): void {
  const index = Index.open(name, 'r')
  let lines = ''
  index.eachWord((word, text) => {
    let files = 0
    let total = 0
    index.eachPosting(word, (_, count) => {
      files++
      total += count
    })
    // A word that only a killed writer's reading has is not in the index.
    if (files > 0) lines += `${files} ${total} ${printable(text)}\n`
    if (lines.length > 65_536) {
      process.stdout.write(lines, 'latin1')
      lines = ''
    }
  })
  process.stdout.write(lines, 'latin1')
  index.close()
}

/** How many files there are, have been read, and as what; bytes of text. */
export function progress(index: Index) {
  const counts = { files: 0, read: 0, text: 0, binary: 0, unreadable: 0, tooLarge: 0, bytes: 0 }
  for (const { offset } of index.files()) {
    counts.files++
    const reading = index.readingOf(offset)
    if (reading === 0) continue
    counts.read++
    counts.bytes += index.u64(reading + READING.bytes)
    const status = index.u32(reading + READING.status)
    if (status === Status.TEXT) counts.text++
    else if (status === Status.BINARY) counts.binary++
    else if (status === Status.TOO_LARGE) counts.tooLarge++
    else counts.unreadable++
  }
  return counts
}

export function status(name: string): void {
  const index = Index.open(name, 'r')
  const { files, text, binary, unreadable, tooLarge, bytes } = progress(index)
  const { mapped, attachments, sharedPageTables, pageTableBytes } = index.region.info()
  print(
    `files=${files} text=${text} binary=${binary} unreadable=${unreadable} ` +
      `too_large=${tooLarge} bytes=${bytes} mapped=${mapped} attachments=${attachments} ` +
      `page_tables=${sharedPageTables ? pageTableBytes : 'own'} base=0x${index.base.toString(16)}`,
  )
  index.close()
}
