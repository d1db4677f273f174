// SPDX-License-Identifier: MIT
/** B10: the same loop over an attachment and over a SharedArrayBuffer. */
import { Region } from '@mshare/core'
import type { Measurement } from './measurement.js'

const ELEMENTS = 1 << 16

function sum(array: Float64Array): number {
  let total = 0
  for (let i = 0; i < array.length; i++) total += array[i] as number
  return total
}

function fill(array: Float64Array): number {
  for (let i = 0; i < array.length; i++) array[i] = i
  return array.length
}

function add(array: Int32Array): number {
  for (let i = 0; i < array.length; i++) Atomics.add(array, i, 1)
  return array.length
}

/**
 * A copy of the function that V8 compiles for one kind of buffer alone: one that
 * has met both is compiled for both, and slower for each.
 */
function own<T>(loop: (array: T) => number): (array: T) => number {
  return new Function(`return ${loop}`)() as (array: T) => number
}

export function loops(quick: boolean): Measurement[] {
  const rounds = quick ? 7 : 21
  const repeats = quick ? 100 : 400
  const results: Measurement[] = []
  using region = Region.unnamed({ size: '1GiB' })
  region.map({ length: ELEMENTS * 8, prot: 'rw' })
  using view = region.attach()
  const shared = new SharedArrayBuffer(ELEMENTS * 8)
  const floats = view.array(Float64Array, { length: ELEMENTS }) as Float64Array
  const ints = view.array(Int32Array, { length: ELEMENTS }) as Int32Array
  const contenders: [string, () => number][] = [
    ['sum', floats, new Float64Array(shared), sum],
    ['fill', floats, new Float64Array(shared), fill],
    ['Atomics.add', ints, new Int32Array(shared, 0, ELEMENTS), add],
  ].flatMap(([name, ours, theirs, loop]) => {
    const l = loop as (array: unknown) => number
    const [a, b] = [own(l), own(l)]
    return [
      [`attachment, ${name}`, () => a(ours)],
      [`SharedArrayBuffer, ${name}`, () => b(theirs)],
    ] as [string, () => number][]
  })
  for (let round = -2; round < rounds; round++) {
    for (const [contender, run] of contenders) {
      const begin = process.hrtime.bigint()
      for (let i = 0; i < repeats; i++) run()
      const value = Number(process.hrtime.bigint() - begin) / repeats
      /* The first rounds are for the compiler. */
      if (round >= 0)
        results.push({ id: 'B10', contender, n: ELEMENTS, round, value, unit: 'ns/loop' })
    }
  }
  return results
}
