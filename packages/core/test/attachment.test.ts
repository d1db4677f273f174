// SPDX-License-Identifier: MIT
import { constants } from 'node:buffer'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { type Attachment, Region } from '@mshare/core'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { GiB, PAGE, Peer, Thread, thrown, useRoot } from './util.js'

useRoot()

let region: Region
beforeEach(() => {
  region = Region.create('region', { size: '16GiB' })
})
afterEach(() => {
  region.close()
  Region.unlink('region')
})

const all = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
]

describe('views', () => {
  test.each(all)('%o over shared memory, without a copy', (Type) => {
    region.map({ length: '1MiB' })
    using one = region.attach()
    using two = region.attach({ prot: 'rw', address: one.address })
    const array = one.array(Type, { offset: 64, length: 8 })
    expect(array).toBeInstanceOf(Type)
    expect(array).toHaveLength(8)
    expect(array.byteOffset).toBe(64)
    array[0] = Type === BigInt64Array || Type === BigUint64Array ? (77n as never) : (77 as never)
    expect(Number(two.array(Type, { offset: 64, length: 1 })[0])).toBe(77)
    expect(one.array(Type)).toHaveLength(2 ** 20 / Type.BYTES_PER_ELEMENT)
  })

  test('of one stretch share one ArrayBuffer of exactly that length', () => {
    region.map({ length: '1MiB' })
    using view = region.attach()
    const { buffer } = view.array(Int32Array, { offset: 4096, length: 16 })
    expect(buffer).toBeInstanceOf(ArrayBuffer)
    expect(buffer.byteLength).toBe(2 ** 20)
    expect(view.buffer(8, 8).buffer).toBe(buffer)
    expect(view.dataView('4KiB', 8).buffer).toBe(buffer)
    expect(view.dataView(4096, 8).byteOffset).toBe(4096)
  })

  test('default to the rest of the stretch', () => {
    region.map({ length: 2 * PAGE })
    using view = region.attach()
    expect(view.buffer()).toHaveLength(2 * PAGE)
    expect(view.buffer(PAGE + 1)).toHaveLength(PAGE - 1)
    expect(view.dataView(PAGE).byteLength).toBe(PAGE)
    expect(view.array(Float64Array, { offset: PAGE + 8 })).toHaveLength(PAGE / 8 - 1)
    expect(view.buffer(0, 0)).toHaveLength(0)
  })

  test('reach over neighbours of other protection, as long as they can be read', () => {
    region.map({ length: PAGE, prot: 'r' })
    region.map({ length: PAGE, prot: 'rw' })
    region.map({ length: PAGE, prot: 'none' })
    region.map({ length: PAGE, prot: 'rx' })
    using view = region.attach()
    expect(view.buffer(0)).toHaveLength(2 * PAGE)
    thrown('ERR_NOT_MAPPED', () => view.buffer(2 * PAGE))
    thrown('ERR_NOT_MAPPED', () => view.buffer(PAGE, PAGE + 1))
    expect(view.buffer(3 * PAGE)).toHaveLength(PAGE)
  })

  test('of memory that grows add up to what there is', () => {
    using view = region.attach()
    let bytes = 0
    const views = Array.from({ length: 8 }, () => {
      const { offset, length } = region.map({ length: '1MiB' })
      const array = view.buffer(offset, length)
      bytes += array.buffer.byteLength
      return array
    })
    expect(bytes).toBe(8 * 2 ** 20)
    // One that reaches over several has to be over all of it.
    const across = view.buffer(2 ** 20 - 4, 8)
    views[0]?.writeInt32LE(-1, 2 ** 20 - 4)
    expect(across.readInt32LE()).toBe(-1)
    expect(across.buffer.byteLength).toBe(8 * 2 ** 20)
  })

  test('are not handed out where nothing readable is mapped', () => {
    using view = region.attach()
    thrown('ERR_NOT_MAPPED', () => view.buffer())
    thrown('ERR_NOT_MAPPED', () => view.array(Int32Array))
    thrown('ERR_NOT_MAPPED', () => view.dataView())
    region.map({ offset: PAGE, length: PAGE })
    thrown('ERR_NOT_MAPPED', () => view.buffer(0, 2 * PAGE))
    thrown('ERR_NOT_MAPPED', () => view.buffer(PAGE, PAGE + 1))
    thrown('ERR_NOT_MAPPED', () => view.buffer(2 * PAGE, 1))
    thrown('ERR_NOT_MAPPED', () => view.buffer('16GiB'))
    thrown('ERR_NOT_MAPPED', () => view.buffer('100TiB', '100TiB'))
    const error = thrown('ERR_NOT_MAPPED', () => view.array(Int32Array, { offset: 0, length: 1 }))
    expect(error).toBeInstanceOf(RangeError)
  })

  test('nor where a peer has unmapped meanwhile', async () => {
    region.map({ length: 2 * PAGE })
    using view = region.attach()
    view.buffer()
    const peer = new Peer()
    await peer.run(({ Region }) => {
      Region.open('region').unmap({ offset: 4096, length: 4096 })
    })
    thrown('ERR_NOT_MAPPED', () => view.buffer(PAGE))
    expect(view.buffer().buffer.byteLength).toBe(PAGE)
  })

  test('of bad arguments are not made', () => {
    region.map({ length: PAGE })
    using view = region.attach()
    thrown('ERR_OUT_OF_RANGE', () => view.array(Int32Array, { offset: 2 }))
    thrown('ERR_OUT_OF_RANGE', () => view.array(Int32Array, { length: -1 }))
    thrown('ERR_OUT_OF_RANGE', () => view.array(Int32Array, { length: 1.5 }))
    thrown('ERR_OUT_OF_RANGE', () => view.array(Int32Array, { length: 2 ** 53 }))
    thrown('ERR_OUT_OF_RANGE', () => view.buffer(-1))
    thrown('ERR_OUT_OF_RANGE', () => view.buffer(Number.NaN))
    thrown('ERR_OUT_OF_RANGE', () => view.dataView(0, -1))
    thrown('ERR_INVALID_ARG_TYPE', () => view.array(DataView as never))
    thrown('ERR_INVALID_ARG_TYPE', () => view.array(undefined as never))
    thrown('ERR_INVALID_ARG_TYPE', () => view.array(Int32Array, { length: '1' as never }))
    thrown('ERR_INVALID_ARG_TYPE', () => view.array(Int32Array, null as never))
  })

  test('of 4 GiB are had on every Node; of more, or a RangeError', () => {
    region.map({ length: '9GiB', reserve: false })
    using view = region.attach()
    const four = view.array(Uint8Array, { offset: GiB, length: 4 * GiB })
    four[0] = 1
    four[4 * GiB - 1] = 2
    expect(view.buffer(GiB, 1)[0]).toBe(1)
    expect(view.buffer(5 * GiB - 1, 1)[0]).toBe(2)
    if (constants.MAX_LENGTH > 4 * GiB) {
      const nine = view.array(Uint8Array)
      expect(nine).toHaveLength(9 * GiB)
      nine[9 * GiB - 1] = 3
    } else {
      thrown('ERR_OUT_OF_RANGE', () => view.buffer())
      thrown('ERR_OUT_OF_RANGE', () => view.buffer(0, '5GiB'))
      view.buffer(9 * GiB - 1)[0] = 3
    }
    expect(view.buffer(9 * GiB - 1, 1)[0]).toBe(3)
  })
})

describe('after the end', () => {
  function views(view: Attachment) {
    return {
      array: view.array(Int32Array),
      bytes: view.buffer(0, 16),
      data: view.dataView(0, 16),
      part: view.array(Uint8Array).subarray(1, 3),
    }
  }

  function expectEmpty({ array, bytes, data, part }: ReturnType<typeof views>) {
    expect([array.length, bytes.length, part.length, array.buffer.byteLength]).toEqual([0, 0, 0, 0])
    expect([array[0], bytes[0], part[0]]).toEqual([undefined, undefined, undefined])
    array[0] = 1
    expect(() => data.getInt8(0)).toThrow(TypeError)
    expect(() => Atomics.add(array, 0, 1)).toThrow(TypeError)
  }

  test('detach empties the views, then takes the window', () => {
    region.map({ length: PAGE })
    const view = region.attach()
    const had = views(view)
    view.detach()
    expectEmpty(had)
    expect(view.detached).toBe(true)
    view.detach()
    thrown('ERR_DETACHED', () => view.buffer())
    thrown('ERR_DETACHED', () => view.array(Int32Array))
    thrown('ERR_DETACHED', () => view.dataView())
    expect(region.info().attachments).toBe(0)
  })

  test('detachAsync empties them before it returns', async () => {
    region.map({ length: PAGE })
    const view = region.attach()
    const had = views(view)
    const done = view.detachAsync()
    expectEmpty(had)
    await done
    expect(region.info().attachments).toBe(0)
  })

  test('so do using and await using', async () => {
    region.map({ length: PAGE })
    let had: ReturnType<typeof views>
    {
      using view = region.attach()
      had = views(view)
    }
    expectEmpty(had)
    {
      await using view = await region.attachAsync()
      had = views(view)
    }
    expectEmpty(had)
  })

  test('so do close and closeAsync of the region, for what was attached through it', async () => {
    region.map({ length: PAGE })
    using kept = region.attach()
    for (const close of ['close', 'closeAsync'] as const) {
      const other = Region.open('region')
      const one = other.attach()
      const two = other.attach({ prot: 'r', anywhere: true })
      const had = views(one)
      const read = two.array(Uint8Array)
      const closed = other[close]()
      expectEmpty(had)
      await closed
      expect(read).toHaveLength(0)
      expect([one.detached, two.detached]).toEqual([true, true])
    }
    expect(kept.buffer()[0]).toBe(0)
    expect(region.info().attachments).toBe(1)
  })

  test('the same memory can be viewed anew, at the same address, over and over', () => {
    region.map({ length: PAGE })
    const { base } = region.info()
    for (let i = 0; i < 20; i++) {
      using view = region.attach()
      expect(view.address).toBe(base)
      const array = view.array(Int32Array)
      expect(array[0]).toBe(i)
      array[0] = i + 1
    }
  })

  test('attachments of one region share the window, and each has its own end', () => {
    region.map({ length: PAGE })
    const one = region.attach()
    const two = region.attach()
    expect(two.address).toBe(one.address)
    expect(region.info().attachments).toBe(1)
    const array = two.array(Int32Array)
    one.detach()
    array[0] = 5
    expect(array[0]).toBe(5)
    two.detach()
    expect(array).toHaveLength(0)
    expect(region.info().attachments).toBe(0)
  })
})

describe('ERR_VIEW_LIVE', () => {
  test('unmap under a view, unless forced, which empties it first', () => {
    region.map({ length: 2 * PAGE })
    using view = region.attach()
    const array = view.array(Int32Array)
    const error = thrown('ERR_VIEW_LIVE', () => region.unmap({ offset: PAGE, length: PAGE }))
    expect(error.message).toMatch(/force/)
    array[0] = 1
    expect(region.mappings()).toHaveLength(1)
    region.unmap({ offset: PAGE, length: PAGE, force: true })
    expect(array).toHaveLength(0)
    expect(view.array(Int32Array)).toHaveLength(PAGE / 4)
    expect(view.array(Int32Array)[0]).toBe(1)
  })

  test('whatever handle is used', () => {
    region.map({ length: PAGE })
    using view = region.attach()
    const bytes = view.buffer()
    using other = Region.open('region')
    thrown('ERR_VIEW_LIVE', () => other.unmap({ length: PAGE }))
    expect(bytes).toHaveLength(PAGE)
    other.unmap({ length: PAGE, force: true })
    expect(bytes).toHaveLength(0)
  })

  test('protect that takes away what a view allows, and none that does not', () => {
    region.map({ length: PAGE })
    using writer = region.attach()
    using reader = region.attach({ prot: 'r', anywhere: true })
    const read = reader.array(Uint8Array)
    region.protect({ length: PAGE, prot: 'r' })
    region.protect({ length: PAGE, prot: 'rw' })
    expect(read).toHaveLength(PAGE)
    const write = writer.array(Uint8Array)
    thrown('ERR_VIEW_LIVE', () => region.protect({ length: PAGE, prot: 'r' }))
    region.protect({ length: PAGE, prot: 'rwx' })
    region.protect({ length: PAGE, prot: 'r', force: true })
    expect([read.length, write.length]).toEqual([PAGE, 0])
    thrown('ERR_VIEW_LIVE', () => region.protect({ length: PAGE, prot: 'none' }))
    region.protect({ length: PAGE, prot: 'none', force: true })
    expect(read).toHaveLength(0)
  })

  test('not for what is beside the views, nor for those that are detached', () => {
    region.map({ length: PAGE })
    region.map({ offset: 2 * PAGE, length: PAGE })
    const view = region.attach()
    const bytes = view.buffer(0)
    region.unmap({ offset: 2 * PAGE, length: PAGE })
    expect(bytes).toHaveLength(PAGE)
    view.detach()
    region.unmap({ length: PAGE })
    expect(region.mappings()).toEqual([])
  })

  test('unmapAsync and protectAsync as well, at once', async () => {
    region.map({ length: PAGE })
    using view = region.attach()
    const bytes = view.buffer()
    const live = { code: 'ERR_VIEW_LIVE' }
    await expect(region.unmapAsync({ length: PAGE })).rejects.toMatchObject(live)
    await expect(region.protectAsync({ length: PAGE, prot: 'r' })).rejects.toMatchObject(live)
    const done = region.unmapAsync({ length: PAGE, force: true })
    expect(bytes).toHaveLength(0)
    // On its way out: no new view of it.
    thrown('ERR_NOT_MAPPED', () => view.buffer())
    await done
    region.map({ length: PAGE })
    expect(view.buffer()).toHaveLength(PAGE)
  })
})

describe('worker threads', () => {
  test('share the window; it outlives whoever attached first', async () => {
    region.map({ length: PAGE })
    const view = region.attach()
    const thread = new Thread()
    const address = await thread.run(({ Region, kept }) => {
      kept.view = Region.open('region').attach()
      kept.cells = kept.view.array(Int32Array)
      return kept.view.address
    })
    expect(address).toBe(view.address)
    expect(region.info().attachments).toBe(1)
    view.detach()
    expect(await thread.run(({ kept }) => Atomics.add(kept.cells, 0, 5))).toBe(0)
    expect(region.info().attachments).toBe(1)
    await thread.run(({ kept }) => kept.view.detach())
    expect(await thread.run(({ kept }) => kept.cells.length)).toBe(0)
    expect(region.info().attachments).toBe(0)
  })

  test('that exit without detaching leave no window behind', async () => {
    region.map({ length: PAGE })
    const thread = new Thread()
    await thread.run(({ Region, kept }) => {
      kept.view = Region.open('region').attach()
      kept.bytes = kept.view.buffer()
      // Whatever runs after the window has gone finds nothing to touch.
      process.on('exit', () => {
        kept.bytes[0] = 1
      })
    })
    expect(region.info().attachments).toBe(1)
    await thread.finish()
    expect(region.info().attachments).toBe(0)
    using view = region.attach()
    expect(view.buffer()[0]).toBe(0)
  })

  test('that are terminated hurt nobody', async () => {
    region.map({ length: PAGE })
    using view = region.attach()
    const cells = view.array(Int32Array)
    const thread = new Thread()
    await thread.run(({ Region, kept }) => {
      kept.cells = Region.open('region').attach().array(Int32Array)
      Atomics.add(kept.cells, 0, 1)
    })
    await thread.kill()
    expect(Atomics.add(cells, 0, 1)).toBe(1)
  })

  test('find each other through Atomics', async () => {
    region.map({ length: PAGE })
    using view = region.attach()
    const cells = view.array(Int32Array)
    const thread = new Thread()
    const done = thread.run(({ Region }) => {
      const cells = Region.open('region').attach().array(Int32Array)
      for (let i = 0; i < 1000; i++)
        while (Atomics.compareExchange(cells, 0, 2 * i, 2 * i + 1) !== 2 * i);
    })
    for (let i = 0; i < 1000; i++) {
      while (Atomics.compareExchange(cells, 0, 2 * i + 1, 2 * i + 2) !== 2 * i + 1) {
        await new Promise(setImmediate)
      }
    }
    await done
    expect(cells[0]).toBe(2000)
  })
})

describe('an attachment that was dropped', () => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const collect = async () => {
    gc()
    await new Promise(setImmediate)
  }

  test('is detached when neither it nor a view can be reached, and not before', async () => {
    region.map({ length: PAGE })
    const kept: { array?: Int32Array } = {}
    const attach = () => {
      kept.array = region.attach().array(Int32Array).subarray(4, 8)
    }
    attach()
    for (let i = 0; i < 20; i++) await collect()
    expect(region.info().attachments).toBe(1)
    if (kept.array) kept.array[0] = 1
    expect(kept.array?.[0]).toBe(1)
    delete kept.array
    for (let i = 0; i < 1000 && region.info().attachments; i++) await collect()
    expect(region.info().attachments).toBe(0)
  })

  test('leaves those of others alone', async () => {
    region.map({ length: PAGE })
    using view = region.attach()
    const drop = () => {
      for (let i = 0; i < 10; i++) region.attach().buffer()
    }
    drop()
    for (let i = 0; i < 20; i++) await collect()
    expect(region.info().attachments).toBe(1)
    view.buffer().fill(1)
    expect(view.buffer()[0]).toBe(1)
  })
})
