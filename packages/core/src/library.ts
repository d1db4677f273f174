// SPDX-License-Identifier: MIT

import { constants } from 'node:buffer'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type Argument, type DriverName, getDriver, type NativeLibrary } from './driver.js'
import { MshareError } from './error.js'
import { version } from './version.js'

/** mshare.h for the drivers, and close(), because Node warns of what it did not open itself. */
const signatures = {
  mshare_open: ['int', ['memory', 'int', 'int']],
  mshare_create: ['int', ['int', 'int']],
  mshare_reopen: ['int', ['int', 'int']],
  mshare_unlink: ['int', ['memory']],
  mshare_mkdir: ['int', ['memory', 'int']],
  mshare_rmdir: ['int', ['memory']],
  mshare_root: ['int', []],
  mshare_reserve: ['int', ['int', 'size_t', 'size_t']],
  mshare_alignment: ['size_t', []],
  mshare_map: ['int', ['int', 'size_t', 'size_t', 'int', 'int', 'int', 'size_t']],
  mshare_unmap: ['int', ['int', 'size_t', 'size_t']],
  mshare_protect: ['int', ['int', 'size_t', 'size_t', 'int']],
  mshare_advise: ['int', ['int', 'size_t', 'size_t', 'int']],
  mshare_attach: ['size_t', ['int', 'size_t', 'int', 'int']],
  mshare_detach: ['int', ['size_t']],
  mshare_set_timeout: ['int', ['int']],
  mshare_info: ['int', ['int', 'memory', 'size_t']],
  mshare_mappings: ['int', ['int', 'memory', 'size_t', 'memory']],
  mshare_version: ['string', []],
  mshare_errno: ['int', []],
  mshare_errmsg: ['string', []],
  close: ['int', ['int']],
} as const

export type CallName = Exclude<
  keyof typeof signatures,
  'mshare_version' | 'mshare_errno' | 'mshare_errmsg'
>

/** One call of C; memory among its arguments may be written to. */
export interface Call {
  readonly name: CallName
  readonly args: readonly Argument[]
}

/** What came of it: the value, and if that says failure, why. */
export interface Outcome {
  readonly value: number | bigint
  readonly failure?: { readonly errno: number; readonly message: string }
}

export interface Library {
  readonly path: string
  readonly driver: DriverName
  call(call: Call): Outcome
  view(address: bigint, length: number): ArrayBuffer
}

/** What an ArrayBuffer can have: on Node 20, a longer one aborts the process. */
export const longestView = constants.MAX_LENGTH

const mapFailed = 2n ** 64n - 1n

let library: Library | undefined

/** libmshare; the first call in a thread looks for it, unless it is told, and loads it. */
export function getLibrary(path?: string): Library {
  library ??= loadLibrary(path ?? findLibrary())
  return library
}

function loadLibrary(path: string): Library {
  const driver = getDriver()
  let native: NativeLibrary
  try {
    native = driver.load(path, signatures)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new MshareError(
      `libmshare does not load: found ${path}, and ${driver.name} says: ${why}. ` +
        `Needed: libmshare ${version} for Linux on ${process.arch} and this C library (${libc()})`,
      { code: 'ERR_LIBRARY_LOAD', path, hint: waysOut(), cause },
    )
  }
  const { mshare_version, mshare_errno, mshare_errmsg } = native.functions as Record<
    string,
    () => number | bigint | string
  >
  const found = mshare_version?.() as string
  if (!fits(found, path === process.env['MSHARE_LIBRARY'])) {
    throw new MshareError(
      `libmshare does not fit: @mshare/core is version ${version}, and ${path} is libmshare ${found}`,
      { code: 'ERR_LIBRARY_VERSION', path, hint: waysOut() },
    )
  }
  return {
    path,
    driver: driver.name as DriverName,
    call({ name, args }) {
      const value = native.functions[name]?.(...args) as number | bigint
      if (value !== -1 && value !== mapFailed) return { value }
      // At once and in this thread: that is whose last failure they tell.
      const errno = mshare_errno?.() as number
      return { value, failure: { errno, message: mshare_errmsg?.() as string } }
    },
    view: (address, length) => native.view(address, length),
  }
}

/**
 * The platform package is of the same release, or is not what npm has installed. A library of
 * somebody's own may be of another one that does all that is needed: of this series, not older.
 */
function fits(found: string, own: boolean): boolean {
  if (!own || found === version) return found === version
  const [[major, minor], [needsMajor, needsMinor]] = [found, version].map((text) =>
    text.split('.').map(Number),
  ) as [number[], number[]] as [[number, number], [number, number]]
  return major === needsMajor && (major === 0 ? minor === needsMinor : minor >= needsMinor)
}

/** The file of libmshare for this machine. */
function findLibrary(): string {
  const { platform, arch } = process
  if (platform !== 'linux' || (arch !== 'x64' && arch !== 'arm64')) {
    throw new MshareError(
      `mshare needs Linux on x86-64 or arm64, and this is ${platform} on ${arch}: ` +
        'the package can be imported here, but not used',
      { code: 'ERR_UNSUPPORTED_PLATFORM' },
    )
  }
  const { MSHARE_LIBRARY: own } = process.env
  const name = `@mshare/libmshare-linux-${arch}`
  if (own) {
    if (existsSync(own)) return own
    throw notFound(`MSHARE_LIBRARY is '${own}', and there is no such file`)
  }
  let path: string
  try {
    path = createRequire(import.meta.url).resolve(`${name}/libmshare.so.1`)
  } catch (cause) {
    if (!glibc()) {
      throw new MshareError(
        `mshare comes built for glibc, and this Node.js runs on another C library, with ${name} not ` +
          'installed: the package can be imported here, but not used',
        { code: 'ERR_UNSUPPORTED_PLATFORM', hint: waysOut(), cause },
      )
    }
    throw notFound(`the package ${name} is not installed, and MSHARE_LIBRARY is not set`, cause)
  }
  if (existsSync(path)) return path
  throw notFound(`the package ${name} is installed, but ${path} is not there`)
}

function notFound(found: string, cause?: unknown): MshareError {
  return new MshareError(
    `libmshare was not found: ${found}. Needed: libmshare ${version} for Linux on ${process.arch} ` +
      `and this C library (${libc()})`,
    { code: 'ERR_LIBRARY_NOT_FOUND', hint: waysOut(), cause },
  )
}

function waysOut(): string {
  return (
    `Ways out: (1) npm install @mshare/libmshare-linux-${process.arch}, without --omit=optional; ` +
    'it is for glibc 2.28 and newer. (2) Build libmshare from source (make -C libmshare) and set ' +
    'MSHARE_LIBRARY to build/libmshare.so.1. (3) Install libmshare on the system and set ' +
    'MSHARE_LIBRARY to the path of its libmshare.so.1'
  )
}

function glibc(): string | undefined {
  const { header } = process.report.getReport() as unknown as {
    header: { glibcVersionRuntime?: string }
  }
  return header.glibcVersionRuntime
}

function libc(): string {
  const found = glibc()
  return found ? `glibc ${found}` : 'no glibc'
}
