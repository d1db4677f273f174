// SPDX-License-Identifier: MIT
import { constants } from 'node:os'

/** What an {@link MshareError} is made of, besides its message. */
export interface MshareErrorFields {
  code: string
  errno?: number | undefined
  syscall?: string | undefined
  path?: string | undefined
  hint?: string | undefined
  cause?: unknown
}

/**
 * What the system, the library or the state of a handle refused. The message says what failed, on
 * what, why, and what to do; programs look at {@link MshareError.code}.
 *
 * A mistake in an argument that can be seen without asking anybody is a `TypeError` or a
 * `RangeError` with Node's codes instead (`ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`,
 * `ERR_OUT_OF_RANGE`), as it is in node:fs; a view of what is not mapped, or cannot be read, is a
 * `RangeError` with the code `ERR_NOT_MAPPED`.
 */
export class MshareError extends Error {
  /**
   * The name of the errno (`'EEXIST'`, `'ENOSPC'` …, as the man pages of libmshare list them), or
   * - `ERR_VIEW_LIVE`: an ArrayBuffer that was handed out covers what is to be unmapped or protected;
   * - `ERR_CLOSED`, `ERR_DETACHED`: the handle was closed or detached before;
   * - `ERR_UNSUPPORTED_PLATFORM`, `ERR_LIBRARY_NOT_FOUND`, `ERR_LIBRARY_LOAD`: there is no
   *   libmshare for this platform, none was found, or what was found does not load;
   * - `ERR_LIBRARY_VERSION`: the libmshare found is of another version than this package;
   * - `ERR_DRIVER`: the FFI driver asked for is unknown, not installed, or cannot be used here;
   * - `ERR_WORKER`: the thread that runs the `Async` calls died.
   */
  readonly code: string
  /** The errno as C has it, positive; undefined if no system call failed. */
  readonly errno: number | undefined
  /** The function of libmshare that failed. */
  readonly syscall: string | undefined
  /** The name of the region or directory, where it is known. */
  readonly path: string | undefined
  /** What to do about it, in the words of this package; part of the message, too. */
  readonly hint: string | undefined

  constructor(message: string, fields: MshareErrorFields) {
    const text = fields.hint ? `${message}. ${fields.hint}` : message
    super(text, fields.cause === undefined ? undefined : { cause: fields.cause })
    this.name = 'MshareError'
    this.code = fields.code
    this.errno = fields.errno
    this.syscall = fields.syscall
    this.path = fields.path
    this.hint = fields.hint
  }
}

const names = new Map<number, string>(Object.entries(constants.errno).map(([k, v]) => [v, k]))
// Node knows only what other systems have, too.
names.set(117, 'EUCLEAN')
// The same number as EWOULDBLOCK; whichever Node lists last would win.
names.set(constants.errno.EAGAIN, 'EAGAIN')
names.set(constants.errno.EOPNOTSUPP, 'EOPNOTSUPP')

export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`
}

/**
 * By function and errno, or by errno for calls on a region's descriptor: what the sentence from C
 * says in words of C.
 */
const hints: Record<string, string> = {
  'mshare_open EEXIST': 'Region.open() takes the one there is, Region.openOrCreate() either',
  'mshare_open ENOENT': 'Region.create() or Region.openOrCreate() makes it',
  'mshare_reserve EEXIST': 'The window of a region is given once; info().window has its size',
  'mshare_map EEXIST': 'Leave `offset` out to have a gap found',
  'mshare_attach EADDRINUSE':
    "Pass `anywhere: true` to take other addresses; the region's pointers then mean nothing here",
  'mshare_attach EACCES': "Pass `prot: 'r'`, or open the region with access 'rw'",
  'mshare_reopen EACCES': "The region's mode does not allow it",
  ENODATA: 'region.reserve({ size }) gives it one',
  EACCES: "A change needs a region that was opened with access 'rw'",
  EBUSY: 'Nothing was changed; info().stragglers counts who is behind; try again',
  ETIMEDOUT:
    'The change is published and will arrive; info().stragglers counts who is behind; Region.setTimeout() sets how long to wait',
}

const contents = ['mshare_reserve', 'mshare_map', 'mshare_unmap', 'mshare_protect', 'mshare_advise']

/** The error of a call of libmshare that failed. */
export function callError(
  call: string,
  errno: number,
  message: string,
  path?: string,
): MshareError {
  const code = errnoName(errno)
  const general = contents.includes(call) || call === 'mshare_attach' ? hints[code] : undefined
  return new MshareError(
    path === undefined || message.includes(path) ? message : `'${path}': ${message}`,
    { code, errno, syscall: call, path, hint: hints[`${call} ${code}`] ?? general },
  )
}
