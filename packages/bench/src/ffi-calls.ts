// SPDX-License-Identifier: MIT
/**
 * `ffi-calls.js PAIRS CALLS`: what pairs.c does, through the driver that MSHARE_FFI names. Pairs by
 * the public interface; single calls by the driver alone, declared as @mshare/core does it, one of
 * them with memory that is allocated once.
 */
import { createRequire } from 'node:module'
import { Region } from '@mshare/core'
import ffiNapi from '@mshare/driver-ffi-napi'

const require = createRequire(import.meta.url)
const [pairs = 0, calls = 0] = process.argv.slice(2).map(Number)
const driver = process.env['MSHARE_FFI'] || 'koffi'

const library =
  process.env['MSHARE_LIBRARY'] ??
  require.resolve(`@mshare/libmshare-linux-${process.arch}/libmshare.so.1`)
const libc = 'libc.so.6'

type Call = (...args: unknown[]) => unknown

/** mshare_errno() and strnlen(): what they do themselves takes no time. */
function functions(): { errno: Call; strnlen: Call } {
  if (driver === 'koffi') {
    const koffi = require('koffi') as typeof import('koffi')
    return {
      errno: koffi.load(library).func('mshare_errno', 'int', []),
      strnlen: koffi.load(libc).func('strnlen', 'size_t', ['void *', 'size_t']),
    }
  }
  const napi = ffiNapi.createDriver()
  const ours = napi.load(library, { mshare_errno: ['int', []] })
  const theirs = napi.load(libc, { strnlen: ['size_t', ['memory', 'size_t']] })
  return {
    errno: ours.functions['mshare_errno'] as Call,
    strnlen: theirs.functions['strnlen'] as Call,
  }
}

function measure(what: string, count: number, unit: string, run: (count: number) => void): void {
  // Once for the compiler.
  run(count)
  const begin = process.hrtime.bigint()
  run(count)
  const value = Number(process.hrtime.bigint() - begin) / count
  const contender = `${driver}, ${what}`
  console.log(JSON.stringify({ id: 'B11', contender, n: 1, round: 0, value, unit }))
}

using region = Region.unnamed({ size: '1GiB' })
const page = { offset: 0, length: 4096 }
const { errno, strnlen } = functions()
const memory = Buffer.alloc(64)

measure('map and unmap', pairs, 'ns/pair', (count) => {
  for (let i = 0; i < count; i++) {
    region.map({ ...page, reserve: false })
    region.unmap(page)
  }
})
measure('call', calls, 'ns/call', (count) => {
  for (let i = 0; i < count; i++) errno()
})
measure('call with memory', calls, 'ns/call', (count) => {
  for (let i = 0; i < count; i++) strnlen(memory, 64)
})
