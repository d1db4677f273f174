// SPDX-License-Identifier: MIT
import { constants } from 'node:os'
import { inspect } from 'node:util'
import { MshareError } from './error.js'
import type { Access, Advice, Prot, Requirement, Size } from './types.js'

// What can be seen to be wrong without asking anybody, in the manner of node:fs.

function coded<E extends Error>(error: E, code: string): E & { code: string } {
  return Object.assign(error, { code })
}

export function typeError(name: string, wanted: string, got: unknown): TypeError {
  return coded(
    new TypeError(`${name} has to be ${wanted}, and is ${inspect(got)}`),
    'ERR_INVALID_ARG_TYPE',
  )
}

export function rangeError(message: string, code = 'ERR_OUT_OF_RANGE'): RangeError {
  return coded(new RangeError(message), code)
}

const units: Record<string, bigint> = {
  '': 1n,
  B: 1n,
  KiB: 1n << 10n,
  MiB: 1n << 20n,
  GiB: 1n << 30n,
  TiB: 1n << 40n,
}

/** Bytes as a safe integer, which is what the drivers pass on exactly. */
export function toBytes(size: Size, name: string): number {
  let bytes: number | bigint
  if (typeof size === 'string') {
    const match = /^(\d+)(?:\.(\d+))? ?(B|[KMGT]iB|)$/.exec(size)
    if (!match) {
      throw coded(
        new TypeError(
          `${name} has to be a size such as '64MiB' (B, KiB, MiB, GiB, TiB), and is ${inspect(size)}`,
        ),
        'ERR_INVALID_ARG_VALUE',
      )
    }
    const [, whole = '', fraction = '', unit = ''] = match
    const scaled = BigInt(whole + fraction) * (units[unit] as bigint)
    const divisor = 10n ** BigInt(fraction.length)
    if (scaled % divisor) throw rangeError(`${name} has to be whole bytes, and is ${inspect(size)}`)
    bytes = scaled / divisor
  } else if (typeof size === 'number' || typeof size === 'bigint') {
    bytes = size
  } else {
    throw typeError(name, "a number, a bigint or a size such as '64MiB'", size)
  }
  return toInteger(Number(bytes), name, Number.MAX_SAFE_INTEGER, size)
}

/** An integer from 0 to max. */
export function toInteger(
  value: number,
  name: string,
  max: number,
  given: unknown = value,
): number {
  if (typeof value !== 'number') throw typeError(name, 'a number', given)
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw rangeError(`${name} has to be an integer from 0 to ${max}, and is ${inspect(given)}`)
  }
  return value
}

export const maxInt = 2 ** 31 - 1

export function toFd(fd: number, name = 'fd'): number {
  return toInteger(fd, name, maxInt)
}

export function toMode(mode: number): number {
  return toInteger(mode, 'mode', 0o777)
}

/** A name as C takes it. What a name may be is for libmshare to say, except what C cannot see. */
export function toName(name: string, syscall: string): Uint8Array {
  if (typeof name !== 'string') throw typeError('name', 'a string', name)
  if (name.includes('\0')) {
    throw new MshareError(`${syscall}: the name ${inspect(name)} has a NUL character in it`, {
      code: 'EINVAL',
      errno: constants.errno.EINVAL,
      syscall,
      path: name,
    })
  }
  return Buffer.from(`${name}\0`)
}

export function toOptions<T extends object>(options: T): T {
  if (typeof options !== 'object' || options === null) {
    throw typeError('options', 'an object', options)
  }
  return options
}

export function toBoolean(value: boolean, name: string): boolean {
  if (typeof value !== 'boolean') throw typeError(name, 'a boolean', value)
  return value
}

function oneOf<T extends string, V>(table: Record<T, V>, value: T, name: string): V {
  if (Object.hasOwn(table, value)) return table[value]
  const choices = Object.keys(table).map((key) => `'${key}'`)
  throw coded(
    new TypeError(`${name} has to be one of ${choices.join(', ')}, and is ${inspect(value)}`),
    'ERR_INVALID_ARG_VALUE',
  )
}

// <sys/mman.h> of Linux
export const PROT_READ = 1
export const PROT_WRITE = 2
const prots: Record<Prot, number> = { none: 0, r: 1, rw: 3, rx: 5, rwx: 7 }
const accesses: Record<Access, number> = { r: 1, rw: 3 }
const advices: Record<Advice, number> = {
  normal: 0,
  willneed: 3,
  dontneed: 4,
  remove: 9,
  'populate-read': 22,
  'populate-write': 23,
}

export function toProt(prot: Prot): number {
  return oneOf(prots, prot, 'prot')
}

export function toAccess(access: Access, name: string): number {
  return oneOf(accesses, access, name)
}

export function toAdvice(advice: Advice): number {
  return oneOf(advices, advice, 'advice')
}

/** Whether shared page tables are required. */
export function toRequirement(require: Requirement | undefined): boolean {
  return require !== undefined && oneOf({ 'shared-page-tables': true }, require, 'require')
}

export function protName(prot: number): string {
  const name = `${prot & 1 ? 'r' : ''}${prot & 2 ? 'w' : ''}${prot & 4 ? 'x' : ''}`
  return name || 'none'
}
