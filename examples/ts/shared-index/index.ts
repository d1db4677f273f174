// SPDX-License-Identifier: MIT
//
// One process's handle on a word index: examples/c/shared-index/index.c in TypeScript.
//
// V8 makes no promise about plain accesses to memory that other processes write, so what is
// published is stored and loaded with Atomics, as in C, and what is read once it has been published
// is read plainly. Typed arrays are made a chunk at a time, over what is mapped.

import { type Access, MshareError, Region, type Size } from '@mshare/core'
import {
  CHUNK,
  DEPTH,
  FILE,
  HEADER,
  hashOf,
  MAGIC,
  PATH_MAX,
  POSTING,
  READING,
  WORD,
  WORD_MAX,
} from './layout.js'

/** The views of one chunk. */
interface Chunk {
  bytes: Uint8Array
  words: Uint32Array
  signed: Int32Array
  cells: BigUint64Array
}

/** A file that is listed: where it is, and its path, one character a byte. */
export interface Entry {
  offset: number
  path: string
}

export class IndexError extends Error {}

/** An error that can happen to a program without a mistake in it; others are thrown again. */
export function expected(error: unknown): Error {
  if (error instanceof IndexError || error instanceof MshareError) return error
  if (error instanceof Error && 'syscall' in error) return error
  throw error
}

const HIGH = 2 ** 32

export class Index {
  readonly region: Region<Access>
  readonly attachment: ReturnType<Region<Access>['attach']>
  readonly base: number
  readonly window: number
  readonly #chunks: (Chunk | undefined)[]
  #free = 0
  #end = 0
  #mappedBytes = 0
  chunksTaken = 0
  /** For tests: SIGKILL when the n-th chunk is taken, before it is mapped. */
  dieInChunk = 0

  private constructor(region: Region<Access>) {
    this.region = region
    this.attachment = region.attach()
    // Addresses are below 2^47: a Number holds them exactly.
    this.base = Number(this.attachment.address)
    this.window = region.info().window
    this.#chunks = new Array(this.window / CHUNK)
  }

  static create(name: string, window: Size): Index {
    const region = Region.create(name, { size: window, mode: 0o600 })
    try {
      region.map({ offset: 0, length: CHUNK, prot: 'rw' })
      const index = new Index(region)
      index.#cells(HEADER.base)[HEADER.base / 8] = BigInt(index.base)
      Atomics.store(index.#cells(HEADER.chunks), HEADER.chunks / 8, 1n)
      index.#free = HEADER.size
      index.#end = CHUNK
      return index
    } catch (error) {
      Region.unlink(name)
      region.close()
      throw error
    }
  }

  static open(name: string, access: Access): Index {
    const region = Region.open(name, { access })
    try {
      const index = new Index(region)
      if (!index.#mapped(0) || Atomics.load(index.#cells(HEADER.magic), 0) !== MAGIC) {
        throw new IndexError(`region "${name}" holds no index (or not yet)`)
      }
      if (index.#cells(HEADER.base)[HEADER.base / 8] !== BigInt(index.base)) {
        throw index.#corrupt('its base is not where the region is attached', 0)
      }
      return index
    } catch (error) {
      region.close()
      throw error
    }
  }

  close(): void {
    this.#chunks.length = 0
    this.attachment.detach()
    this.region.close()
  }

  #corrupt(what: string, offset: number): IndexError {
    return new IndexError(
      `the index is corrupt: ${what} at 0x${BigInt(Math.trunc(this.base + offset)).toString(16)}`,
    )
  }

  /** The views of chunk n, or undefined if it is not mapped. */
  #mapped(n: number): Chunk | undefined {
    const known = this.#chunks[n]
    if (known) return known
    try {
      // Of a read-only attachment it is read-only, in its type too: readers do not store.
      const bytes = this.attachment.array(Uint8Array, { offset: n * CHUNK, length: CHUNK })
      const { buffer, byteOffset } = bytes as Uint8Array
      const chunk = {
        bytes: bytes as Uint8Array,
        words: new Uint32Array(buffer, byteOffset, CHUNK / 4),
        signed: new Int32Array(buffer, byteOffset, CHUNK / 4),
        cells: new BigUint64Array(buffer, byteOffset, CHUNK / 8),
      }
      this.#chunks[n] = chunk
      return chunk
    } catch (error) {
      if (error instanceof RangeError) return undefined
      throw error
    }
  }

  /** The views around an offset that was checked. */
  #at(offset: number): Chunk {
    const chunk = this.#chunks[Math.floor(offset / CHUNK)]
    if (!chunk) throw this.#corrupt('something', offset)
    return chunk
  }

  #cells(offset: number): BigUint64Array {
    const chunk = this.#mapped(Math.floor(offset / CHUNK))
    if (!chunk) throw this.#corrupt('something', offset)
    return chunk.cells
  }

  /** An object can be here, and its chunk is mapped; the same rules as index_check(). */
  #check(offset: number, size: number, what: string): void {
    if (
      !(offset >= HEADER.size && offset < this.window) ||
      offset % 8 !== 0 ||
      size > CHUNK - (offset % CHUNK) ||
      !this.#mapped(Math.floor(offset / CHUNK))
    ) {
      throw this.#corrupt(what, offset)
    }
  }

  /** No walk sees more objects of a size than there is memory for: else it is a circle. */
  #step(seen: number, size: number, offset: number): void {
    if (seen <= this.#mappedBytes / size) return
    this.#mappedBytes = this.region.info().mapped
    if (seen > this.#mappedBytes / size) throw this.#corrupt('a circle', offset)
  }

  /** A pointer that may change under us. */
  #load(offset: number): number {
    const value = Atomics.load(this.#at(offset).cells, (offset % CHUNK) / 8)
    return value === 0n ? 0 : Number(value) - this.base
  }

  /** A pointer in an object that has been published. */
  #pointer(offset: number): number {
    const { words } = this.#at(offset)
    const at = (offset % CHUNK) / 4
    const value = (words[at] as number) + (words[at + 1] as number) * HIGH
    return value === 0 ? 0 : value - this.base
  }

  /** Fill in a pointer of an object that has not been published. */
  #setPointer(offset: number, to: number): void {
    const { words } = this.#at(offset)
    const at = (offset % CHUNK) / 4
    const value = to === 0 ? 0 : to + this.base
    words[at] = value % HIGH
    words[at + 1] = Math.floor(value / HIGH)
  }

  /** Publish an object: from what the pointer is to the object. What it was then. */
  #publish(offset: number, expected: number, to: number): number {
    const was = expected === 0 ? 0n : BigInt(expected + this.base)
    const found = Atomics.compareExchange(
      this.#at(offset).cells,
      (offset % CHUNK) / 8,
      was,
      BigInt(to + this.base),
    )
    return found === 0n ? 0 : Number(found) - this.base
  }

  u32(offset: number): number {
    return this.#at(offset).words[(offset % CHUNK) / 4] as number
  }

  #setU32(offset: number, value: number): void {
    this.#at(offset).words[(offset % CHUNK) / 4] = value
  }

  u64(offset: number): number {
    return this.u32(offset) + this.u32(offset + 4) * HIGH
  }

  #bytes(offset: number, length: number): Uint8Array {
    const at = offset % CHUNK
    return this.#at(offset).bytes.subarray(at, at + length)
  }

  #text(offset: number, length: number): string {
    const bytes = this.#bytes(offset, length)
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
  }

  // Memory.

  #takeChunk(): void {
    const chunk = Number(Atomics.add(this.#cells(HEADER.chunks), HEADER.chunks / 8, 1n))
    if (chunk >= this.window / CHUNK) {
      throw new IndexError(`the index is full: its window has ${this.window / 2 ** 20} MiB`)
    }
    if (++this.chunksTaken === this.dieInChunk) process.kill(process.pid, 'SIGKILL')
    // In force in all attached processes when it returns: pointers into it may be published.
    this.region.map({ offset: chunk * CHUNK, length: CHUNK, prot: 'rw' })
    this.#check(chunk * CHUNK, CHUNK, 'a new chunk')
    this.#free = chunk * CHUNK
    this.#end = this.#free + CHUNK
  }

  #allocate(size: number): number {
    size = Math.ceil(size / 8) * 8
    if (size > this.#end - this.#free) this.#takeChunk()
    const offset = this.#free
    this.#free += size
    return offset
  }

  // Files: listed by the creator alone, before anybody else looks.

  /** List a file after `last` (0: the first one); where it is. The path: one character a byte. */
  addFile(last: number, path: string): number {
    if (path.length > PATH_MAX) throw new IndexError(`path of ${path.length} bytes`)
    const file = this.#allocate(FILE.path + path.length)
    this.#setPointer(file + FILE.next, 0)
    this.#setPointer(file + FILE.reading, 0)
    this.#setU32(file + FILE.claimed, 0)
    this.#setU32(file + FILE.length, path.length)
    this.#bytes(file + FILE.path, path.length).set(Buffer.from(path, 'latin1'))
    this.#setPointer(last === 0 ? HEADER.files : last + FILE.next, file)
    this.#setU32(HEADER.fileCount, this.u32(HEADER.fileCount) + 1)
    return file
  }

  publishFiles(): void {
    Atomics.store(this.#cells(HEADER.magic), HEADER.magic / 8, MAGIC)
  }

  get fileCount(): number {
    return this.u64(HEADER.fileCount)
  }

  #entry(offset: number): Entry {
    this.#check(offset, FILE.path, 'file')
    const length = this.u32(offset + FILE.length)
    if (length > PATH_MAX) throw this.#corrupt('path', offset)
    this.#check(offset, FILE.path + length, 'path')
    return { offset, path: this.#text(offset + FILE.path, length) }
  }

  *files(): Generator<Entry> {
    let seen = 0
    for (let file = this.#pointer(HEADER.files); file !== 0; file = this.#pointer(file)) {
      this.#step(++seen, FILE.path, file)
      yield this.#entry(file)
    }
  }

  /** Set file.claimed; false if it was. */
  claim(file: number): boolean {
    return Atomics.exchange(this.#at(file).signed, ((file + FILE.claimed) % CHUNK) / 4, 1) === 0
  }

  /** The reading of a file that counts, or 0. */
  readingOf(file: number): number {
    const reading = this.#load(file + FILE.reading)
    if (reading !== 0) this.#check(reading, READING.size, 'reading')
    return reading
  }

  // Words.

  #makeWord(text: Uint8Array, hash: number): number {
    const word = this.#allocate(WORD.text + text.length)
    // It may be memory that was given back.
    this.#bytes(word, WORD.text).fill(0)
    this.#setU32(word + WORD.hash, hash)
    this.#setU32(word + WORD.length, text.length)
    this.#bytes(word + WORD.text, text.length).set(text)
    return word
  }

  #isWord(word: number, text: Uint8Array, hash: number): boolean {
    this.#check(word, WORD.text, 'word')
    if (this.u32(word + WORD.hash) !== hash || this.u32(word + WORD.length) !== text.length) {
      return false
    }
    this.#check(word, WORD.text + text.length, 'text of a word')
    const { bytes } = this.#at(word)
    const at = (word + WORD.text) % CHUNK
    for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text[i]) return false
    return true
  }

  #findOrMake(text: Uint8Array, hash: number, make: boolean): number {
    let slot: number = HEADER.root
    let bits = hash
    let made = 0
    for (let depth = 0; depth < DEPTH; depth++) {
      let word = this.#load(slot)
      if (word === 0) {
        if (!make) return 0
        if (made === 0) made = this.#makeWord(text, hash)
        word = this.#publish(slot, 0, made)
        if (word === 0) return made
        // Somebody was faster; `word` is theirs, maybe the very one.
      }
      if (this.#isWord(word, text, hash)) {
        if (made !== 0) this.#free = made
        return word
      }
      slot = word + WORD.child + (bits >>> 30) * 8
      bits <<= 2
    }
    throw this.#corrupt('the trie is too deep', slot)
  }

  /** Where a word is, or 0. */
  find(text: Uint8Array): number {
    return this.#findOrMake(text, hashOf(text), false)
  }

  /** Every word, and its text, one character a byte. */
  eachWord(fn: (word: number, text: string) => void): void {
    let seen = 0
    const below = (word: number, depth: number): void => {
      if (depth === DEPTH) throw this.#corrupt('the trie is too deep', word)
      this.#step(++seen, WORD.text, word)
      this.#check(word, WORD.text, 'word')
      const length = this.u32(word + WORD.length)
      if (length > WORD_MAX) throw this.#corrupt('text of a word', word)
      this.#check(word, WORD.text + length, 'text of a word')
      fn(word, this.#text(word + WORD.text, length))
      for (let i = 0; i < 4; i++) {
        const child = this.#load(word + WORD.child + i * 8)
        if (child !== 0) below(child, depth + 1)
      }
    }
    const root = this.#load(HEADER.root)
    if (root !== 0) below(root, 0)
  }

  // Readings.

  beginReading(file: number): number {
    const reading = this.#allocate(READING.size)
    this.#bytes(reading, READING.size).fill(0)
    this.#setPointer(reading + READING.file, file)
    return reading
  }

  addWord(reading: number, text: Uint8Array, hash: number, count: number): void {
    const word = this.#findOrMake(text, hash, true)
    const posting = this.#allocate(POSTING.size)
    this.#setPointer(posting + POSTING.reading, reading)
    this.#setU32(posting + POSTING.count, count)
    this.#setU32(posting + POSTING.count + 4, 0)
    let head = this.#load(word + WORD.postings)
    for (;;) {
      this.#setPointer(posting + POSTING.next, head)
      const found = this.#publish(word + WORD.postings, head, posting)
      if (found === head) break
      head = found
    }
    this.#setU32(reading + READING.words, this.u32(reading + READING.words) + 1)
  }

  describeReading(reading: number, status: number, bytes: number): void {
    this.#setU32(reading + READING.status, status)
    this.#setU32(reading + READING.bytes, bytes)
  }

  /** True if this reading is the one that counts, false if somebody else's came first. */
  endReading(file: number, reading: number): boolean {
    return this.#publish(file + FILE.reading, 0, reading) === 0
  }

  /** The files that count and have a word, and how often. */
  eachPosting(word: number, fn: (file: number, count: number) => void): void {
    let seen = 0
    let posting = this.#load(word + WORD.postings)
    for (; posting !== 0; posting = this.#pointer(posting + POSTING.next)) {
      this.#step(++seen, POSTING.size, posting)
      this.#check(posting, POSTING.size, 'posting')
      const reading = this.#pointer(posting + POSTING.reading)
      this.#check(reading, READING.size, 'reading')
      const file = this.#pointer(reading + READING.file)
      this.#check(file, FILE.path, 'file')
      if (this.#load(file + FILE.reading) === reading) {
        fn(file, this.u32(posting + POSTING.count))
      }
    }
  }

  pathOf(file: number): string {
    return this.#entry(file).path
  }
}
