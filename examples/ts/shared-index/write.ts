// SPDX-License-Identifier: MIT
//
// A writer: takes files off the list, and puts their words into the index.

import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { type Entry, Index } from './index.js'
import {
  FILE_MAX,
  finishHash,
  HASH_PRIME,
  HASH_START,
  LETTER,
  Status,
  WORD_MAX,
  WORD_MIN,
} from './layout.js'
import { memoryLine, memoryStatus } from './memory.js'

/**
 * The words of one file and how often each is in it: a hash table over the file's bytes, because a
 * string for each of 30 million words would be most of the work.
 */
class Counts {
  #text: Uint8Array = new Uint8Array()
  #size = 1024
  // By slot: start, length, hash and count of a word; count 0: a free slot.
  #slots = new Uint32Array(this.#size * 4)
  #used = new Uint32Array(this.#size)
  #length = 0

  /** Count the words of a text, which is made lower case. */
  count(text: Uint8Array): void {
    this.#text = text
    let hash = HASH_START
    let start = 0
    for (let i = 0; i <= text.length; i++) {
      const letter = i < text.length ? (LETTER[text[i] as number] as number) : 0
      if (letter !== 0) {
        text[i] = letter
        hash = Math.imul(hash ^ letter, HASH_PRIME)
        continue
      }
      const length = i - start
      if (length >= WORD_MIN && length <= WORD_MAX) this.#add(start, length, finishHash(hash))
      start = i + 1
      hash = HASH_START
    }
  }

  #slot(start: number, length: number, hash: number): number {
    const slots = this.#slots
    const text = this.#text
    const mask = this.#size - 1
    for (let i = hash & mask; ; i = (i + 1) & mask) {
      const at = i * 4
      if (slots[at + 3] === 0) return at
      if (slots[at + 2] !== hash || slots[at + 1] !== length) continue
      const other = slots[at] as number
      let same = 0
      while (same < length && text[start + same] === text[other + same]) same++
      if (same === length) return at
    }
  }

  #add(start: number, length: number, hash: number): void {
    let at = this.#slot(start, length, hash)
    if (this.#slots[at + 3] === 0) {
      if (this.#length === this.#size / 2) {
        this.#grow()
        at = this.#slot(start, length, hash)
      }
      this.#slots.set([start, length, hash, 0], at)
      this.#used[this.#length++] = at
    }
    ;(this.#slots[at + 3] as number)++
  }

  #grow(): void {
    const { slots, used } = { slots: this.#slots, used: this.#used }
    this.#size *= 2
    this.#slots = new Uint32Array(this.#size * 4)
    this.#used = new Uint32Array(this.#size)
    for (let i = 0; i < this.#length; i++) {
      const word = slots.subarray(used[i] as number, (used[i] as number) + 4)
      const at = this.#slot(word[0] as number, word[1] as number, word[2] as number)
      this.#slots.set(word, at)
      this.#used[i] = at
    }
  }

  get length(): number {
    return this.#length
  }

  each(fn: (text: Uint8Array, hash: number, count: number, i: number) => void): void {
    for (let i = 0; i < this.#length; i++) {
      const at = this.#used[i] as number
      const start = this.#slots[at] as number
      const text = this.#text.subarray(start, start + (this.#slots[at + 1] as number))
      fn(text, this.#slots[at + 2] as number, this.#slots[at + 3] as number, i)
    }
  }

  clear(): void {
    for (let i = 0; i < this.#length; i++) this.#slots[(this.#used[i] as number) + 3] = 0
    this.#length = 0
  }
}

const OPEN = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY

/**
 * The text of a file. Its path is what another process says, so it is no link that is followed and
 * no FIFO that is waited for.
 */
export function readText(path: string): { status: number; text: Uint8Array } {
  const none = new Uint8Array()
  let bytes: Buffer
  try {
    const fd = openSync(Buffer.from(path, 'latin1'), OPEN)
    try {
      const stat = fstatSync(fd)
      if (!stat.isFile()) return { status: Status.UNREADABLE, text: none }
      if (stat.size > FILE_MAX) return { status: Status.TOO_LARGE, text: none }
      bytes = readFileSync(fd)
    } finally {
      closeSync(fd)
    }
    if (path.endsWith('.gz') && bytes[0] === 0x1f && bytes[1] === 0x8b) {
      bytes = gunzipSync(bytes, { maxOutputLength: FILE_MAX + 1 })
    }
  } catch (error) {
    const large = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE'
    return { status: large ? Status.TOO_LARGE : Status.UNREADABLE, text: none }
  }
  if (bytes.length > FILE_MAX) return { status: Status.TOO_LARGE, text: none }
  if (bytes.includes(0)) return { status: Status.BINARY, text: none }
  return { status: Status.TEXT, text: bytes }
}

const pause = new Int32Array(new SharedArrayBuffer(4))

/**
 * Somebody is at work on this file, or was killed over it. Doing it again is right in both cases,
 * so this wait only spares the memory of a second reading.
 */
function waitForReading(index: Index, file: number): boolean {
  for (let ms = 0; ms < 300; ms++) {
    if (index.readingOf(file) !== 0) return true
    Atomics.wait(pause, 0, 0, 1)
  }
  return false
}

export function write(name: string, dieInFile: number, dieInChunk: number): void {
  const tables = memoryStatus('VmPTE')
  const index = Index.open(name, 'rw')
  index.dieInChunk = dieInChunk
  const counts = new Counts()
  let files = 0
  let bytes = 0

  const writeFile = (entry: Entry): void => {
    const reading = index.beginReading(entry.offset)
    const { status, text } = readText(entry.path)
    index.describeReading(reading, status, text.length)
    counts.count(text)
    files++
    counts.each((word, hash, count, i) => {
      if (dieInFile !== 0 && files >= dieInFile && i === counts.length >> 1) {
        process.kill(process.pid, 'SIGKILL')
      }
      index.addWord(reading, word, hash, count)
    })
    counts.clear()
    if (index.endReading(entry.offset, reading)) bytes += text.length
    else files--
  }

  for (const claimedToo of [false, true]) {
    for (const entry of index.files()) {
      if (index.readingOf(entry.offset) !== 0) continue
      if (!index.claim(entry.offset)) {
        if (!claimedToo || waitForReading(index, entry.offset)) continue
      }
      writeFile(entry)
    }
  }
  console.log(`wrote files=${files} bytes=${bytes} chunks=${index.chunksTaken}`)
  console.log(memoryLine(index, tables))
  index.close()
}
