// SPDX-License-Identifier: MIT
//
// mshare gc: what nobody can use, or nobody uses.

import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import { Region } from '@mshare/core'
import { DONE, FAILED } from './errors.js'
import type { Output } from './output.js'
import { key, users } from './processes.js'
import { look, place, type Seen, survey } from './regions.js'
import { plural, printable, table } from './text.js'

/**
 * `unfinished`: it has no window, so whoever made it died first. `damaged`: libmshare recognises it
 * as its own, and as of no use. `orphaned`: sound, and nobody has it open or attached.
 */
type Reason = 'unfinished' | 'damaged' | 'orphaned'
type Outcome = 'removed' | 'would-remove' | 'kept' | 'failed'

interface Item {
  name: string
  reason: Reason
  outcome: Outcome
  /** Why it is kept, or what failed. */
  why?: string
}

export interface GcOptions {
  dryRun?: boolean
  orphans?: boolean
}

export function gc(
  output: Output,
  { dryRun = false, orphans = false }: GcOptions,
  complain: (error: unknown) => void,
): number {
  const { root, backend } = place()
  // A region without a window has no magic, so that the directory has to say whose it is: on
  // msharefs all files are regions, and in a user's default root all are that user's. Anywhere else
  // an empty file may be anything.
  const ours = backend === 'msharefs' || root === `/dev/shm/mshare-${process.geteuid?.()}`
  const found = survey()
    .map((seen) => examine(root, seen))
    .filter((candidate) => candidate !== undefined)
  const { of, hidden } = users(new Map(found.map(({ file }) => [file, 0])))
  const items = found.flatMap(({ name, reason, file }): Item | [] => {
    const item = (outcome: Outcome, why?: string): Item => ({
      ...{ name, reason, outcome },
      ...(why === undefined ? {} : { why }),
    })
    const holders = of.get(file) ?? []
    if (holders.length > 0) {
      // Sound regions in use are nobody's business here.
      if (reason === 'orphaned') return []
      return item('kept', `process ${holders.map(({ pid }) => pid).join(', ')} has it open`)
    }
    if (reason === 'unfinished' && !ours) {
      return item('kept', 'an empty file, which may be anything: rm it if it is a region')
    }
    if (reason === 'orphaned' && !orphans) return item('kept', 'without --orphans')
    if (dryRun) return item('would-remove')
    try {
      // It may be another one by now, or have come into use.
      const now = examine(root, look(name))
      if (now?.file !== file || now.reason !== reason) return item('kept', 'it has changed')
      Region.unlink(name)
      return item('removed')
    } catch (error) {
      complain(error)
      return item('failed', (error as NodeJS.ErrnoException).code ?? 'unknown')
    }
  })
  output.give({ root, backend, dryRun, items, hiddenProcesses: hidden }, () => [
    ...table(
      items.map(({ name, reason, outcome, why }) => [
        ...[outcome.replace('-', ' '), reason],
        printable(name) + (why === undefined ? '' : `  (${why})`),
      ]),
      [0, 1],
    ),
    ...(hidden > 0 && items.some(({ outcome }) => outcome !== 'kept')
      ? [
          `What ${plural(hidden, 'process has', 'processes have')} open may not be asked; ` +
            'of attachments, all are known.',
        ]
      : []),
  ])
  return items.some(({ outcome }) => outcome === 'failed') ? FAILED : DONE
}

interface Candidate {
  name: string
  reason: Reason
  file: string
}

/** What of this could be removed, if nobody has it open; undefined: nothing. */
function examine(root: string, seen: Seen | undefined): Candidate | undefined {
  if (!seen || seen.attachments > 0) return undefined
  const { name, state } = seen
  const reasons: Partial<Record<Seen['state'], Reason>> = {
    ready: 'orphaned',
    'no-window': 'unfinished',
    damaged: 'damaged',
  }
  const reason = reasons[state]
  // By name: what is damaged cannot be opened. undefined: it is gone.
  const stat = lstatSync(join(root, name), { bigint: true, throwIfNoEntry: false })
  if (!reason || !stat) return undefined
  return { name, reason, file: key({ device: stat.dev, inode: stat.ino }) }
}
