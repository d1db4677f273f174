// SPDX-License-Identifier: MIT
import { createRequire } from 'node:module'
import { MshareError } from './error.js'
import { koffiDriver } from './koffi.js'

/**
 * The types of C that a signature has. Addresses are `size_t`: no driver is to make pointer objects.
 * `memory` is memory of JavaScript, passed by address; `string` is a `const char *` that is copied.
 */
export type ArgumentType = 'int' | 'size_t' | 'memory'
/** The types of C that a function can give. */
export type ResultType = 'int' | 'size_t' | 'string'
/** By name: what a function gives, and what it takes. */
export type Signatures = Readonly<Record<string, readonly [ResultType, readonly ArgumentType[]]>>

export type Argument = number | Uint8Array
/** Takes safe integers and memory; gives a number for `int`, a bigint for `size_t`. */
export type NativeFunction = (...args: Argument[]) => number | bigint | string

/** A shared library, as a driver has loaded it. */
export interface NativeLibrary {
  /** By name, as the signatures had them. */
  readonly functions: Readonly<Record<string, NativeFunction>>
  /**
   * An ArrayBuffer over `length` bytes at `address`, of exactly that length, a new one each time,
   * that can be detached and frees nothing when it goes.
   */
  view(address: bigint, length: number): ArrayBuffer
}

/** How functions of C are called. `load` throws if the library or a function is missing. */
export interface Driver {
  /** As {@link setDriver} takes it. */
  readonly name: string
  /** Load the shared library at `path`. */
  load(path: string, signatures: Signatures): NativeLibrary
}

/** The drivers there are. */
export type DriverName = 'koffi' | 'ffi-napi'

let chosen: DriverName | undefined
let loaded: Driver | undefined

/**
 * Choose how C is called, for this thread, before its first use of anything else here; the
 * environment variable `MSHARE_FFI` does the same for all threads. Default: koffi, which is fast
 * and comes with this package. `'ffi-napi'` needs the package `@mshare/driver-ffi-napi`.
 * @throws MshareError `ERR_DRIVER` once another driver is in use.
 */
export function setDriver(name: DriverName): void {
  check(name, 'setDriver()')
  if (loaded && loaded.name !== name) {
    throw new MshareError(`The driver ${loaded.name} is in use already, ${name} comes too late`, {
      code: 'ERR_DRIVER',
      hint: 'Call setDriver() before anything else of this package, or set MSHARE_FFI',
    })
  }
  chosen = name
}

function check(name: string, source: string): asserts name is DriverName {
  if (name !== 'koffi' && name !== 'ffi-napi') {
    throw new MshareError(`${source} asks for the FFI driver '${name}', which does not exist`, {
      code: 'ERR_DRIVER',
      hint: "The drivers are 'koffi' and 'ffi-napi'",
    })
  }
}

export function driverName(): DriverName {
  if (chosen) return chosen
  const { MSHARE_FFI } = process.env
  if (!MSHARE_FFI) return 'koffi'
  check(MSHARE_FFI, 'MSHARE_FFI')
  return MSHARE_FFI
}

/** The driver that was chosen; loads it. */
export function getDriver(): Driver {
  if (!loaded) {
    const name = driverName()
    loaded = name === 'koffi' ? koffiDriver() : ffiNapiDriver()
    chosen = name
  }
  return loaded
}

function ffiNapiDriver(): Driver {
  // Not an import: what is not chosen need not be installed, and first use is not asynchronous.
  const require = createRequire(import.meta.url)
  const name = '@mshare/driver-ffi-napi'
  try {
    require.resolve(name)
  } catch (cause) {
    throw new MshareError(`The FFI driver ffi-napi is asked for, but ${name} is not installed`, {
      code: 'ERR_DRIVER',
      // Otherwise npm runs scripts of its dependencies, which end in errors of gyp.
      hint: `npm install --ignore-scripts ${name}, or unset MSHARE_FFI to use koffi, which is installed`,
      cause,
    })
  }
  try {
    return (require(name) as { createDriver(): Driver }).createDriver()
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new MshareError(`The FFI driver ffi-napi does not load: ${why}`, {
      code: 'ERR_DRIVER',
      hint: 'Unset MSHARE_FFI to use koffi',
      cause,
    })
  }
}
