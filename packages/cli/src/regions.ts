// SPDX-License-Identifier: MIT
//
// What can be said of the regions in the root, hostile ones included.

import { fstatSync } from 'node:fs'
import { type Mapping, Region, type RegionInfo } from '@mshare/core'
import { Failure } from './errors.js'

/**
 * `no-window`: it was never given one; whoever made it is at it, or died. `damaged`: a region of
 * ours that was cut short or written over. `no-region`: another file. `closed`: not for this user.
 */
export type State = 'ready' | 'no-window' | 'damaged' | 'no-region' | 'closed'

export interface Seen {
  name: string
  state: State
  window: number
  base: bigint
  mapped: number
  resident: number
  mappings: number
  attachments: number
  stragglers: number
  generation: number
  /** Of the region's shared tables; null where each attacher has its own. */
  pageTableBytes: number | null
  /** What all attachers have without sharing, or would have, when each has touched all there is. */
  unsharedPageTableBytes: number
}

/** Which file it is, for comparing with what processes have. */
export interface Identity {
  device: bigint
  inode: bigint
}

const states: Record<string, State | undefined> = {
  EUCLEAN: 'damaged',
  EINVAL: 'no-region',
  EACCES: 'closed',
  EPERM: 'closed',
}

/** The region of a name as it is now; undefined: it is gone. */
export function look(name: string): Seen | undefined {
  const nothing = {
    ...{ name, window: 0, base: 0n, mapped: 0, resident: 0, mappings: 0, attachments: 0 },
    ...{ stragglers: 0, generation: 0, pageTableBytes: null, unsharedPageTableBytes: 0 },
  }
  let region: Region<'r'>
  try {
    region = Region.open(name, { access: 'r' })
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'EISDIR', 'ENAMETOOLONG'].includes(code)) return undefined
    const state = states[code]
    if (!state) throw error
    return { ...nothing, state }
  }
  try {
    return seen(name, region, region.info())
  } catch (error) {
    // Cut short since it was opened.
    const state = states[(error as NodeJS.ErrnoException).code ?? '']
    if (!state) throw error
    return { ...nothing, state }
  } finally {
    region.close()
  }
}

export function seen(name: string, region: Region<'r'>, info: RegionInfo): Seen {
  const { window, base, mapped, resident, mappings, attachments, stragglers, generation } = info
  const pageTableBytes = info.pageTableBytes ?? null
  return {
    ...{ name, state: window === 0 ? 'no-window' : 'ready', window, base, mapped, resident },
    ...{ mappings, attachments, stragglers, generation, pageTableBytes },
    unsharedPageTableBytes:
      attachments === 0
        ? 0
        : attachments *
          (pageTableBytes === null
            ? tablesFor(region.mappings(), resident)
            : Math.max(pageTableBytes - UPPER, 0)),
  }
}

const PAGE = 4096
/** The two upper levels of the shared tables: an attacher has those anyway, for all else it maps. */
const UPPER = 2 * PAGE

/**
 * What one process needs of page tables, two levels of them, to have mapped what is resident: a
 * table for each 2 MiB that has a page in it, and one for each 1 GiB of those. Where in the mappings
 * the pages are is not known: the most that it can be.
 */
export function tablesFor(mappings: readonly Mapping[], resident: number): number {
  const blocks = (size: number) => {
    let count = 0
    let next = 0
    for (const { offset, length } of mappings) {
      const first = Math.max(Math.floor(offset / size), next)
      next = Math.max(Math.ceil((offset + length) / size), next)
      count += Math.max(next - first, 0)
    }
    return count
  }
  const lower = Math.min(blocks(2 ** 21), Math.ceil(resident / PAGE))
  return (lower + Math.min(blocks(2 ** 30), lower)) * PAGE
}

/** All there are below a directory of the root; what is no region is left out, unless `all`. */
export function survey(directory = '', all = false): Seen[] {
  const regions: Seen[] = []
  for (const name of Region.list(directory)) {
    const region = look(name)
    if (region && (all || region.state !== 'no-region')) regions.push(region)
  }
  return regions
}

export function identify(
  region: Region<'r'>,
): Identity & { uid: number; gid: number; mode: number } {
  const { dev, ino, uid, gid, mode } = fstatSync(region.fd, { bigint: true })
  return {
    device: dev,
    inode: ino,
    uid: Number(uid),
    gid: Number(gid),
    mode: Number(mode) & 0o7777,
  }
}

/** The root and what it is on. */
export function place(): { root: string; backend: 'msharefs' | 'shm'; sharedPageTables: boolean } {
  const probe = Region.probe()
  if (!probe.available) throw probe.error
  const { root, backend, sharedPageTables } = probe
  return { root, backend, sharedPageTables }
}

/** Opened for looking, or the error says why not. */
export function open(name: string): Region<'r'> {
  return Region.open(name, { access: 'r' })
}

export function needWindow(name: string, info: RegionInfo): void {
  if (info.window > 0) return
  throw new Failure(
    'ENODATA',
    `the region '${name}' has no window yet`,
    'Whoever makes it has not given it one, or died: wait, or mshare gc',
  )
}
