// SPDX-License-Identifier: MIT
//
// CommonJS, so that it can be loaded at first use, synchronously, on every Node from 20 on.

import type { ArgumentType, Driver, NativeFunction, ResultType } from '@mshare/core' with {
  'resolution-mode': 'import',
}

type Memory = Buffer

interface Ffi {
  Library<Name extends string>(
    path: string | null,
    functions: Record<Name, [string, string[]]>,
  ): Record<Name, (...args: (number | Memory)[]) => number | string>
}

interface Ref {
  writeObject(memory: Memory, offset: number, object: object): void
  readPointer(memory: Memory, offset: number, length: number): Memory
}

// `string` is the address, as a number: a pointer as a result would have ffi-napi make a Buffer of
// 1 GiB over it, which takes milliseconds and has the garbage collector believe in that memory.
const types: Record<ArgumentType | ResultType, string> = {
  int: 'int',
  size_t: 'size_t',
  memory: 'pointer',
  string: 'size_t',
}

/** The driver, for this thread. */
function createDriver(): Driver {
  checkMainThread()
  const ffi: Ffi = require('ffi-napi')
  const ref: Ref = require('ref-napi')
  const view = createView(ffi, ref)
  const libc = ffi.Library(null, { strlen: ['size_t', ['size_t']] })

  /** Numbers above 2^53 come as strings. */
  const readString = (address: number) => {
    const length = Number(libc.strlen(address))
    return Buffer.from(view(BigInt(address), length)).toString()
  }

  return {
    name: 'ffi-napi',
    load(path, signatures) {
      const declared = Object.entries(signatures).map(
        ([name, [result, args]]) =>
          [name, [types[result], args.map((type) => types[type])]] as [string, [string, string[]]],
      )
      const library = ffi.Library(path, Object.fromEntries(declared))
      const functions: Record<string, NativeFunction> = {}
      for (const [name, [result]] of Object.entries(signatures)) {
        const native = library[name] as (...args: (number | Memory)[]) => number | string
        functions[name] = (...args) => {
          const value = native(...args.map((arg) => (typeof arg === 'number' ? arg : buffer(arg))))
          if (result === 'size_t') return BigInt(value)
          return result === 'string' ? readString(Number(value)) : Number(value)
        }
      }
      return { functions, view }
    },
  }
}

/** ref-napi takes Buffers only. */
function buffer({ buffer, byteOffset, byteLength }: Uint8Array): Memory {
  return Buffer.from(buffer, byteOffset, byteLength)
}

/**
 * How to make an ArrayBuffer over foreign memory.
 *
 * ref.readPointer() alone will not do: it makes the ArrayBuffer at least 1 GiB long, whatever length
 * is asked for, and gives the same one for the same address until that is collected, also when it is
 * detached or too short by then. It does so by a table that it keeps as its "instance data"; without
 * one it makes a Buffer of the length asked for, a new one each time. So the instance data, which
 * Node-API sets by address alone, is put aside for the one call.
 */
function createView(ffi: Ffi, ref: Ref): (address: bigint, length: number) => ArrayBuffer {
  const napi = ffi.Library(null, {
    napi_get_instance_data: ['int', ['size_t', 'pointer']],
    napi_set_instance_data: ['int', ['size_t', 'size_t', 'size_t', 'size_t']],
  })
  // A reference to an object begins with the napi_env that ref-napi was loaded with.
  const reference = Buffer.alloc(64)
  ref.writeObject(reference, 0, {})
  const env = readAddress(reference)
  const data = Buffer.alloc(8)
  napi.napi_get_instance_data(env, data)
  const table = readAddress(data)
  const pointer = Buffer.alloc(8)

  const view = (address: bigint, length: number) => {
    writeAddress(pointer, address)
    napi.napi_set_instance_data(env, 0, 0, 0)
    try {
      return ref.readPointer(pointer, 0, length).buffer as ArrayBuffer
    } finally {
      napi.napi_set_instance_data(env, table, 0, 0)
    }
  }

  // This depends on how ref-napi is made; its last version is of 2021. See that it does what we want.
  const probe = view(BigInt(table), 16)
  if (probe.byteLength !== 16 || view(BigInt(table), 16) === probe) {
    throw new Error('this ref-napi is not the version 3.0.3 that is needed')
  }
  return view
}

function readAddress(memory: Memory): number {
  return Number(new BigUint64Array(memory.buffer, memory.byteOffset, 1)[0])
}

function writeAddress(memory: Memory, address: bigint): void {
  new BigUint64Array(memory.buffer, memory.byteOffset, 1)[0] = address
}

/** What ffi-napi registers in the thread that loads it first has to outlive that thread. */
function checkMainThread(): void {
  const { isMainThread } = require('node:worker_threads') as typeof import('node:worker_threads')
  if (isMainThread) return
  const { readFileSync } = require('node:fs') as typeof import('node:fs')
  const maps = readFileSync('/proc/self/maps', 'utf8')
  if (!/\/ffi-napi\/.*\.node$/m.test(maps)) {
    throw new Error(
      'ffi-napi crashes a process at its end if a worker thread is the first to load it; ' +
        'use @mshare/core in the main thread first (Region.probe() is enough)',
    )
  }
}

export = { createDriver }
