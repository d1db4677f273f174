// SPDX-License-Identifier: MIT
//
// The word index in a region, for TypeScript. examples/c/shared-index/index.h is where the format
// and its rules are explained; this file says the same offset by offset, and the tests have C and
// TypeScript build and read one index together.
//
// Pointers are 8 bytes, absolute addresses; in JavaScript they are kept as offsets into the region,
// address - base, with 0 for NULL (at 0 is the header, which nothing points to).

export const MAGIC = 0x317865646e69736dn // "msindex1", little endian
export const CHUNK = 1 << 20
export const DEPTH = 256
export const PATH_MAX = 4095
export const FILE_MAX = 16 << 20
export const WORD_MIN = 2
export const WORD_MAX = 63

/** What became of a file: reading.status. */
export const Status = { TEXT: 1, BINARY: 2, UNREADABLE: 3, TOO_LARGE: 4 } as const

export const HEADER = {
  magic: 0, // u64, atomic, stored last
  base: 8, // u64
  chunks: 16, // u64, atomic
  root: 24, // pointer to a word, atomic
  files: 32, // pointer to a file
  fileCount: 40, // u64
  size: 48,
} as const

export const WORD = {
  child: 0, // 4 pointers to words, atomic
  postings: 32, // pointer to a posting, atomic
  hash: 40, // u32
  length: 44, // u32
  text: 48,
} as const

export const POSTING = {
  next: 0, // pointer to a posting
  reading: 8, // pointer to a reading
  count: 16, // u32
  size: 24,
} as const

export const READING = {
  file: 0, // pointer to a file
  bytes: 8, // u64
  status: 16, // u32
  words: 20, // u32
  size: 24,
} as const

export const FILE = {
  next: 0, // pointer to a file
  reading: 8, // pointer to a reading, atomic
  claimed: 16, // u32, atomic
  length: 20, // u32
  path: 24,
} as const

/** For each byte: what it is in a word (capitals made small), or 0 if it is in none. */
export const LETTER: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => {
  if (byte >= 0x41 && byte <= 0x5a) return byte | 0x20
  const digit = byte >= 0x30 && byte <= 0x39
  return digit || (byte >= 0x61 && byte <= 0x7a) || byte >= 0x80 ? byte : 0
})

export const HASH_START = 2166136261
export const HASH_PRIME = 16777619

/** The end of index_hash(), after FNV-1a over the bytes. */
export function finishHash(hash: number): number {
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

export function hashOf(text: Uint8Array): number {
  let hash = HASH_START
  for (const byte of text) hash = Math.imul(hash ^ byte, HASH_PRIME)
  return finishHash(hash)
}
