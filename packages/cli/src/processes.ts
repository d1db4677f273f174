// SPDX-License-Identifier: MIT
//
// Who uses a region, as /proc tells it. Everybody's attachments are in mshare_info(); this is for
// which processes those are, and for descriptors.

import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import type { Identity } from './regions.js'

export interface User {
  pid: number
  uid: number
  command: string
  /** Where the window is in it, each time it is there. */
  attached: bigint[]
  /** How many descriptors it has of the region. */
  descriptors: number
}

export interface Users {
  /** By the key of the region's file. */
  of: Map<string, User[]>
  /** Processes that cannot be looked into: other users'. */
  hidden: number
}

export const key = ({ device, inode }: Identity) => `${device}:${inode}`

/** As /proc/PID/maps has a device, and as stat has it. */
function device(major: string, minor: string): bigint {
  const [a, b] = [BigInt(`0x${major}`), BigInt(`0x${minor}`)]
  const high = ((a & ~0xfffn) << 32n) | ((b & ~0xffn) << 12n)
  return high | ((a & 0xfffn) << 8n) | (b & 0xffn)
}

const line = /^([0-9a-f]+)-([0-9a-f]+) \S+ [0-9a-f]+ ([0-9a-f]+):([0-9a-f]+) (\d+)/gm

/** Looks through all processes, this one excepted. `windows`: how long the window of a file is. */
export function users(windows: ReadonlyMap<string, number>): Users {
  const found: Users = { of: new Map(), hidden: 0 }
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue
    try {
      lookInto(Number(name), windows, found.of)
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException
      // A process that has ended meanwhile has none.
      if (['EACCES', 'EPERM'].includes(code)) found.hidden++
      else if (!['ENOENT', 'ESRCH'].includes(code)) throw error
    }
  }
  return found
}

function lookInto(
  pid: number,
  windows: ReadonlyMap<string, number>,
  found: Map<string, User[]>,
): void {
  const proc = `/proc/${pid}`
  const mine = new Map<string, User>()
  const user = (file: string) => {
    const known = mine.get(file)
    if (known) return known
    const { uid } = statSync(proc)
    const command = readFileSync(`${proc}/comm`, 'utf8').trimEnd()
    const made = { pid, uid, command, attached: [], descriptors: 0 }
    mine.set(file, made)
    return made
  }

  // Mappings of a file that lie side by side are one run; a window is as long as it is, whatever
  // is in it.
  let run = { file: '', start: 0n, end: 0n }
  const ended = () => {
    const window = BigInt(windows.get(run.file) ?? 0)
    if (window === 0n || run.end === 0n) return
    for (let at = run.start; run.end - at >= window; at += window) user(run.file).attached.push(at)
  }
  for (const [, from, to, major, minor, inode] of readFileSync(`${proc}/maps`, 'latin1').matchAll(
    line,
  )) {
    if (inode === '0') continue
    const file = key({
      device: device(major as string, minor as string),
      inode: BigInt(inode as string),
    })
    if (!windows.has(file)) continue
    user(file)
    const [start, end] = [BigInt(`0x${from}`), BigInt(`0x${to}`)]
    if (file === run.file && start === run.end) {
      run.end = end
    } else {
      ended()
      run = { file, start, end }
    }
  }
  ended()

  for (const fd of readdirSync(`${proc}/fd`)) {
    try {
      // A path, not something like socket:[1]: the one is cheap to ask for, and the other is not.
      if (!readlinkSync(`${proc}/fd/${fd}`).startsWith('/')) continue
      const { dev, ino } = statSync(`${proc}/fd/${fd}`, { bigint: true })
      const file = key({ device: dev, inode: ino })
      if (windows.has(file)) user(file).descriptors++
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
  for (const [file, one] of mine) found.set(file, [...(found.get(file) ?? []), one])
}
