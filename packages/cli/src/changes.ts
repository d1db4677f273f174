// SPDX-License-Identifier: MIT
//
// mshare create, map, unmap, protect, rm, mkdir

import { closeSync, openSync } from 'node:fs'
import { type Prot, Region } from '@mshare/core'
import { DONE, FAILED } from './errors.js'
import type { Output } from './output.js'
import { needWindow } from './regions.js'
import { formatBytes, hex, printable } from './text.js'

export interface CreateOptions {
  size: number
  base?: number
  mode: number
  map?: number
  prot: Prot
  requireSharedPageTables?: boolean
}

export function create(output: Output, name: string, options: CreateOptions): void {
  const { size, base, mode, map, prot, requireSharedPageTables } = options
  using region = Region.create(name, {
    ...{ size, mode },
    ...(base === undefined ? {} : { base }),
    ...(requireSharedPageTables ? { require: 'shared-page-tables' } : {}),
  })
  if (map !== undefined) {
    try {
      region.map({ length: map, prot })
    } catch (error) {
      // All or nothing.
      Region.unlink(name)
      throw error
    }
  }
  const info = region.info()
  const { backend, window, base: at, mapped } = info
  output.give({ name, backend, window, base: at, mapped }, () => [
    `${printable(name)}: ${formatBytes(window)} at ${hex(at)}, on ${backend}` +
      (mapped ? `, ${formatBytes(mapped)} mapped` : ''),
  ])
}

export interface MapOptions {
  offset?: number
  prot: Prot
  reserve: boolean
  populate?: boolean
  hugetlb?: boolean
  file?: string
  fileOffset?: number
}

export function map(output: Output, name: string, length: number, options: MapOptions): void {
  const { offset, prot, reserve, populate = false, hugetlb = false, file, fileOffset } = options
  using region = Region.open(name)
  const info = region.info()
  needWindow(name, info)
  // What is mapped has to be open for what is done with it.
  const fd = file === undefined ? undefined : openSync(file, prot.includes('w') ? 'r+' : 'r')
  let at: { offset: number; length: number }
  try {
    at = region.map({
      ...{ length, prot, reserve, populate, hugetlb },
      ...(offset === undefined ? {} : { offset }),
      ...(fd === undefined ? {} : { backing: { fd, offset: fileOffset ?? 0 } }),
    })
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
  const address = info.base + BigInt(at.offset)
  output.give({ name, ...at, prot, address }, () => [
    `${printable(name)}: mapped ${formatBytes(at.length)} ${prot} at offset ${hex(at.offset)}, ` +
      `address ${hex(address)}`,
  ])
}

export function unmap(output: Output, name: string, offset: number, length: number): void {
  using region = Region.open(name)
  region.unmap({ offset, length })
  output.give({ name, offset, length }, () => [
    `${printable(name)}: unmapped ${formatBytes(length)} from offset ${hex(offset)} on`,
  ])
}

export function protect(
  output: Output,
  name: string,
  offset: number,
  length: number,
  prot: Prot,
): void {
  using region = Region.open(name)
  region.protect({ offset, length, prot })
  output.give({ name, offset, length, prot }, () => [
    `${printable(name)}: ${formatBytes(length)} from offset ${hex(offset)} on are ${prot} now`,
  ])
}

/** Each of them, whatever becomes of the others. */
function each(
  names: readonly string[],
  work: (name: string) => void,
  complain: (error: unknown) => void,
): { done: string[]; status: number } {
  const done: string[] = []
  for (const name of names) {
    try {
      work(name)
      done.push(name)
    } catch (error) {
      complain(error)
    }
  }
  return { done, status: done.length === names.length ? DONE : FAILED }
}

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code

export function rm(
  output: Output,
  names: readonly string[],
  { dir, force }: { dir?: boolean; force?: boolean },
  complain: (error: unknown) => void,
): number {
  const remove = (name: string) => {
    try {
      if (dir) Region.rmdir(name)
      else Region.unlink(name)
    } catch (error) {
      if (!force || codeOf(error) !== 'ENOENT') throw error
    }
  }
  const { done, status } = each(names, remove, complain)
  output.give({ removed: done }, () => [])
  return status
}

export function mkdir(
  output: Output,
  names: readonly string[],
  { mode, parents }: { mode: number; parents?: boolean },
  complain: (error: unknown) => void,
): number {
  const make = (name: string) => {
    if (!parents) return Region.mkdir(name, mode)
    const components = name.split('/')
    for (const i of components.keys()) {
      const directory = components.slice(0, i + 1).join('/')
      try {
        Region.mkdir(directory, mode)
      } catch (error) {
        if (codeOf(error) !== 'EEXIST') throw error
        // ENOTDIR, if it is there as something else.
        Region.list(directory)
      }
    }
  }
  const { done, status } = each(names, make, complain)
  output.give({ made: done }, () => [])
  return status
}
