// SPDX-License-Identifier: MIT
//
// The structs of mshare.h, by their layout on LP64.

import { endianness } from 'node:os'
import { protName } from './arguments.js'
import { errnoName } from './error.js'
import type { Backend, Capabilities, Mapping, RegionInfo } from './types.js'

const little = endianness() === 'LE'

export const infoBytes = 72
export const mappingBytes = 24
export const sizeBytes = 8

const unknown = 2n ** 64n - 1n

function reader(memory: Uint8Array) {
  const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength)
  return {
    u32: (offset: number) => view.getUint32(offset, little),
    i32: (offset: number) => view.getInt32(offset, little),
    u64: (offset: number) => view.getBigUint64(offset, little),
    size: (offset: number) => Number(view.getBigUint64(offset, little)),
  }
}

function toBackend(id: number): Backend {
  // A library that knows a third one is a new major version of this package.
  return id === 1 ? 'msharefs' : 'shm'
}

function toCapabilities(bits: number): Capabilities {
  return {
    sharedPageTables: (bits & 1) !== 0,
    fileBacking: (bits & 2) !== 0,
    hugetlb: (bits & 4) !== 0,
    refusesRawCalls: (bits & 8) !== 0,
  }
}

export function readInfo(memory: Uint8Array): RegionInfo {
  const { u32, i32, u64, size } = reader(memory)
  const error = i32(68)
  return {
    backend: toBackend(u32(0)),
    ...toCapabilities(u32(4)),
    window: size(8),
    base: u64(16),
    mapped: size(24),
    resident: size(32),
    pageTableBytes: u64(40) === unknown ? undefined : size(40),
    generation: size(48),
    mappings: u32(56),
    attachments: u32(60),
    stragglers: u32(64),
    attachmentError: error ? errnoName(error) : undefined,
  }
}

export function readMapping(memory: Uint8Array, index: number): Mapping {
  const { u32, size } = reader(memory)
  const at = index * mappingBytes
  const flags = u32(at + 20)
  return {
    offset: size(at),
    length: size(at + 8),
    prot: protName(u32(at + 16)),
    reserve: (flags & 1) === 0,
    hugetlb: (flags & 4) !== 0,
  }
}

export function readSize(memory: Uint8Array): number {
  return reader(memory).size(0)
}

export function writeSize(memory: Uint8Array, size: number): void {
  new DataView(memory.buffer, memory.byteOffset).setBigUint64(0, BigInt(size), little)
}
