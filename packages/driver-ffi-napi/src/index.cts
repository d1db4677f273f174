// SPDX-License-Identifier: MIT
//
// CommonJS, so that it can be loaded at first use, synchronously, on every Node from 20 on.

import type { ArgumentType, Driver, NativeFunction, ResultType } from '@mshare/core' with {
  'resolution-mode': 'import',
}

type Memory = Buffer
type Argument = Parameters<NativeFunction>[number]
type Native = (...args: Argument[]) => number | bigint

interface Ffi {
  CIF(result: string, args: string[]): Memory
  DynamicLibrary(path: string | null): { get(name: string): Memory }
}

/** What ffi-napi's functions are made of. Made of it here, for theirs allocate at each call. */
interface Bindings {
  ffi_call(cif: Memory, at: Memory, result: Memory, args: Memory): void
}

interface Ref {
  address(memory: Uint8Array): number
  writeObject(memory: Memory, offset: number, object: object): void
  readPointer(memory: Memory, offset: number, length: number): Memory
}

interface Napi {
  ffi: Ffi
  bindings: Bindings
  ref: Ref
}

// Addresses are numbers: a pointer as a result would have ref-napi make a Buffer of 1 GiB over it,
// which takes milliseconds and has the garbage collector believe in that memory.
const types: Record<ArgumentType | ResultType, string> = {
  int: 'int',
  size_t: 'size_t',
  memory: 'size_t',
  string: 'size_t',
}

/** The driver, for this thread. */
function createDriver(): Driver {
  checkMainThread()
  const napi: Napi = {
    ffi: require('ffi-napi'),
    bindings: require('ffi-napi/lib/bindings'),
    ref: require('ref-napi'),
  }
  const own = napi.ffi.DynamicLibrary(null)
  const view = createView(napi, own)
  const strlen = declare(napi, own.get('strlen'), 'size_t', ['size_t'])
  const readString = (address: bigint) =>
    Buffer.from(view(address, Number(strlen(Number(address))))).toString()

  return {
    name: 'ffi-napi',
    load(path, signatures) {
      const library = napi.ffi.DynamicLibrary(path)
      const functions: Record<string, NativeFunction> = {}
      for (const [name, [result, args]] of Object.entries(signatures)) {
        const native = declare(napi, library.get(name), result, args)
        functions[name] =
          result === 'string' ? (...args) => readString(native(...args) as bigint) : native
      }
      return { functions, view }
    },
  }
}

/**
 * A function of C. Memory for its result and arguments is allocated once: nothing that is called
 * here calls back, and each thread has its own.
 */
function declare(
  { ffi, bindings, ref }: Napi,
  at: Memory,
  result: ResultType,
  args: readonly ArgumentType[],
): Native {
  const cif = ffi.CIF(
    types[result],
    args.map((type) => types[type]),
  )
  // An ArrayBuffer's memory stays where it is; small typed arrays by themselves may be moved.
  const frame = Buffer.from(new ArrayBuffer(8 * (1 + 2 * args.length)))
  const value = frame.subarray(0, 8)
  const pointers = frame.subarray(8 * (1 + args.length))
  args.forEach((_, i) => {
    writeSize(pointers, 8 * i, ref.address(frame) + 8 * (1 + i))
  })

  return (...given) => {
    if (given.length !== args.length) {
      throw new TypeError(`${args.length} arguments are expected, not ${given.length}`)
    }
    for (let i = 0; i < args.length; i++) {
      const arg = given[i] as Argument
      const offset = 8 * (1 + i)
      if (args[i] === 'int') frame.writeInt32LE(arg as number, offset)
      else writeSize(frame, offset, typeof arg === 'number' ? arg : ref.address(arg))
    }
    bindings.ffi_call(cif, at, value, pointers)
    return result === 'int' ? value.readInt32LE() : value.readBigUInt64LE()
  }
}

/** Up to 2^53, and no BigInt for it, which would be allocated. */
function writeSize(memory: Memory, offset: number, value: number): void {
  if (!Number.isSafeInteger(value)) throw new RangeError(`${value} is no size_t here`)
  memory.writeUInt32LE(value % 2 ** 32, offset)
  memory.writeUInt32LE(Math.floor(value / 2 ** 32), offset + 4)
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
function createView(
  napi: Napi,
  own: ReturnType<Ffi['DynamicLibrary']>,
): (address: bigint, length: number) => ArrayBuffer {
  const { ref } = napi
  const get = declare(napi, own.get('napi_get_instance_data'), 'int', ['size_t', 'memory'])
  const set = declare(napi, own.get('napi_set_instance_data'), 'int', [
    'size_t',
    'size_t',
    'size_t',
    'size_t',
  ])
  // A reference to an object begins with the napi_env that ref-napi was loaded with.
  const reference = Buffer.alloc(64)
  ref.writeObject(reference, 0, {})
  const env = Number(reference.readBigUInt64LE())
  const data = Buffer.alloc(8)
  get(env, data)
  const table = Number(data.readBigUInt64LE())
  const pointer = Buffer.alloc(8)

  const view = (address: bigint, length: number) => {
    pointer.writeBigUInt64LE(address)
    set(env, 0, 0, 0)
    try {
      return ref.readPointer(pointer, 0, length).buffer as ArrayBuffer
    } finally {
      set(env, table, 0, 0)
    }
  }

  // This depends on how ref-napi is made; its last version is of 2021. See that it does what we want.
  const probe = view(BigInt(table), 16)
  if (probe.byteLength !== 16 || view(BigInt(table), 16) === probe) {
    throw new Error('this ref-napi is not the version 3.0.3 that is needed')
  }
  return view
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
