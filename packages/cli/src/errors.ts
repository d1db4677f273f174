// SPDX-License-Identifier: MIT

import { MshareError, Region } from '@mshare/core'
import { printable } from './text.js'

/** Exit statuses. Those of `run` and `vm` are their command's. */
export const DONE = 0
export const FAILED = 1
export const USAGE = 2

/** An operation that the command itself has found impossible. */
export class Failure extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly remedy: string,
  ) {
    super(message)
  }
}

/** An argument that commander lets pass and that cannot be right. */
export class Usage extends Error {}

/** What somebody can do about it at a command line; by command and errno, or by errno. */
const remedies: Record<string, string> = {
  'create EACCES': 'The mode of its directory says who may; mshare doctor looks at the root',
  'create EEXIST': 'Take another name; or mshare rm removes the one there is',
  'create EINVAL': 'Sizes and bases are multiples of 1GiB; names are like demo/counters',
  'create ENOENT': 'mshare mkdir makes the directory that it is to be in',
  'create EOPNOTSUPP': 'Shared page tables need a kernel with msharefs: mshare doctor',
  'map EEXIST': 'Without --offset a gap is found; mshare maps shows what there is',
  'map ENOMEM': 'mshare maps shows the gaps; a window cannot grow: make a region with a larger one',
  'protect ENOMEM': 'mshare maps shows the holes; protect only what is mapped',
  'mkdir EACCES': 'The mode of its directory says who may; mshare doctor looks at the root',
  'mkdir EEXIST': 'It is there already; -p does not mind',
  'mkdir ENOENT': 'Make the directories above it first, or use -p',
  'rm EISDIR': 'mshare rm --dir removes directories',
  'rm ENOTDIR': 'Without --dir, mshare rm removes regions',
  'ls ENOENT': 'Without an argument, mshare ls lists all of the root',
  EACCES: "The region's mode and directories say who may: mshare info, ls -l of the root",
  EBUSY:
    'Nothing was changed. Let the process that is behind run (kill -CONT) or end it; try again',
  EINVAL: 'The arguments have to suit the region: mshare info and mshare maps show it',
  EISDIR: 'mshare ls lists what is in it',
  ELOOP: 'Use the real path; links are never followed',
  EMFILE: 'Raise ulimit -n',
  ENODATA: 'Whoever makes it has not given it a window yet, or died: wait, or mshare gc',
  ENOENT: 'mshare ls lists the regions there are, mshare create makes one',
  ENOMEM: 'Raise the limit that the message names; mshare doctor shows limits',
  ENOSPC:
    'Free something (mshare ls, mshare gc), or enlarge the file system: mshare doctor shows it',
  ENOTEMPTY: 'Remove what is in it first: mshare ls',
  EOPNOTSUPP: 'mshare info shows the back end, docs/support.md what it can do',
  EPERM: 'Only the owner may; mshare doctor looks at the root',
  EROFS: 'Mount it read-write, or set MSHARE_ROOT to a directory that is',
  ETIMEDOUT: 'Do not repeat it: it is published and will arrive. A process is stopped: mshare info',
  EUCLEAN: 'It cannot be repaired: mshare rm removes it; make it anew',
}

/** The same, where the root itself is what the error is about. */
const rootRemedies: Record<string, string> = {
  ENOENT: 'Make the directory that MSHARE_ROOT names; mshare doctor looks at the root',
  EOPNOTSUPP: 'mshare doctor looks at the root',
}

function rootRemedy(code: string): string | undefined {
  if (!rootRemedies[code]) return undefined
  const probe = Region.probe()
  return probe.available || codeOf(probe.error) !== code ? undefined : rootRemedies[code]
}

const codeOf = (error: Error) => (error as NodeJS.ErrnoException).code

/** An error as it is told: errno's name, cause, remedy. */
export interface Report {
  code: string
  message: string
  remedy: string
}

/** undefined: that is a defect of this program, and somebody should see where. */
export function report(error: unknown, command: string): Report | undefined {
  if (error instanceof Failure) return error
  const { code, message } = error as NodeJS.ErrnoException
  if (typeof code !== 'string') return undefined
  const known = remedies[`${command} ${code}`] ?? remedies[code]
  if (error instanceof MshareError) {
    // The hint is in words of TypeScript; it is the end of the message.
    const { hint } = error
    const cause =
      hint && message.endsWith(`. ${hint}`) ? message.slice(0, -hint.length - 2) : message
    return {
      code,
      message: cause,
      remedy: rootRemedy(code) ?? known ?? (code.startsWith('ERR_') && hint ? hint : fallback),
    }
  }
  // Of an operating system; others that have a code are about arguments in code.
  if ((error as NodeJS.ErrnoException).errno === undefined) return undefined
  return { code, message: message.replace(`${code}: `, ''), remedy: known ?? fallback }
}

const fallback = 'docs/errors.md explains it; mshare doctor looks for what is wrong here'

/** One line. */
export function sentence({ code, message, remedy }: Report): string {
  return printable(`${code}: ${message}. ${remedy}.`)
}
