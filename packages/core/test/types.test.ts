// SPDX-License-Identifier: MIT
//
// What the types say: checked by the compiler (npm run lint), and here as far as there is something
// to run.

import { type Attachment, type ReadonlyAttachment, Region } from '@mshare/core'
import { expect, expectTypeOf, test } from 'vitest'
import { PAGE, useRoot } from './util.js'

useRoot()

test('who opens or attaches read-only gets read-only views', () => {
  using region = Region.create('types', { size: '1GiB' })
  region.map({ length: PAGE })
  using reader = Region.open('types', { access: 'r' })
  using read = reader.attach()
  expectTypeOf(read).toEqualTypeOf<ReadonlyAttachment>()
  using write = region.attach({ anywhere: true })
  expectTypeOf(write).toEqualTypeOf<Attachment>()
  using asked = region.attach({ prot: 'r', anywhere: true })
  expectTypeOf(asked).toEqualTypeOf<ReadonlyAttachment>()
  expectTypeOf(write.array(Float64Array)).toExtend<Float64Array>()

  const array = read.array(Int32Array)
  const bytes = read.buffer()
  const data = read.dataView()
  expectTypeOf(array[0]).toEqualTypeOf<number | undefined>()
  expect([array[0], array.length, bytes[0], data.getInt8(0), [...array.subarray(0, 2)]]).toEqual([
    0,
    PAGE / 4,
    0,
    0,
    [0, 0],
  ])
  // Compiled, and not run: each of these is SIGSEGV.
  void (() => {
    // @ts-expect-error
    array[0] = 1
    // @ts-expect-error
    array.set([1])
    // @ts-expect-error
    array.fill(1)
    // @ts-expect-error
    array.subarray(1)[0] = 1
    // @ts-expect-error
    Atomics.add(array, 0, 1)
    // @ts-expect-error
    new Int32Array(array.buffer)
    // @ts-expect-error
    bytes[0] = 1
    // @ts-expect-error
    bytes.writeInt32LE(1)
    // @ts-expect-error
    bytes.write('x')
    // @ts-expect-error
    data.setInt8(0, 1)
  })
  Region.unlink('types')
})

test('sizes are numbers, bigints, and strings of a size', () => {
  type Size = Parameters<typeof Region.unnamed>[0]['size']
  expectTypeOf<'64MiB'>().toExtend<Size>()
  expectTypeOf<'1.5GiB'>().toExtend<Size>()
  expectTypeOf<1n>().toExtend<Size>()
  expectTypeOf<'64MB'>().not.toExtend<Size>()
  expectTypeOf<'much'>().not.toExtend<Size>()
})
