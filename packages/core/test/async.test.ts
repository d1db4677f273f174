// SPDX-License-Identifier: MIT
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { Region } from '@mshare/core'
import { describe, expect, test } from 'vitest'
import { describeOn, GiB, PAGE, Peer, rejected, Thread, useRoot } from './util.js'

useRoot()

function readThreads(): number {
  return Number(/^Threads:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1])
}

describe('every Async twin does what the other does', () => {
  test('from the beginning of a region to its end', async () => {
    await using region = await Region.createAsync('twin', { size: '1GiB' })
    await using opened = await Region.openAsync('twin', { access: 'r' })
    await using either = await Region.openOrCreateAsync('twin', { size: '1GiB' })
    await using unnamed = await Region.unnamedAsync({})
    await unnamed.reserveAsync({ size: '2GiB' })
    expect(await unnamed.infoAsync()).toEqual(unnamed.info())
    expect((await unnamed.infoAsync()).window).toBe(2 * GiB)
    expect(await region.mapAsync({ length: 4 * PAGE })).toEqual({ offset: 0, length: 4 * PAGE })
    expect(await either.mapAsync({ length: PAGE })).toEqual({ offset: 4 * PAGE, length: PAGE })
    await region.protectAsync({ length: PAGE, prot: 'r' })
    await region.unmapAsync({ offset: 2 * PAGE, length: PAGE })
    await region.adviseAsync({ offset: PAGE, length: PAGE, advice: 'remove' })
    expect(await opened.mappingsAsync()).toEqual(region.mappings())
    expect(region.mappings()).toHaveLength(3)
    await using writer = await region.attachAsync()
    await using reader = await opened.attachAsync({ anywhere: true })
    expect(reader.address).not.toBe(writer.address)
    writer.buffer(PAGE).write('async')
    expect(reader.buffer(PAGE, 5).toString()).toBe('async')
    await Region.unlinkAsync('twin')
    await rejected('ENOENT', Region.openAsync('twin'))
  })

  test('with the errors of the thread where they arose', async () => {
    using region = Region.unnamed({ size: '1GiB' })
    const results = await Promise.allSettled([
      region.mapAsync({ offset: 0, length: PAGE }),
      region.mapAsync({ offset: 0, length: PAGE }),
      region.mapAsync({ offset: 1, length: PAGE }),
      region.protectAsync({ offset: PAGE, length: PAGE, prot: 'r' }),
      region.attachAsync({ address: 4096n }),
    ])
    expect(results.map((r) => (r.status === 'rejected' ? r.reason.code : 'done'))).toEqual([
      'done',
      'EEXIST',
      'EINVAL',
      'ENOMEM',
      'EINVAL',
    ])
    const { reason } = results[1] as PromiseRejectedResult
    expect(reason.message).toMatch(/mapped already.*File exists/)
  })

  test('as many mappings as there are come back', async () => {
    using region = Region.unnamed({ size: '1GiB' })
    for (let i = 0; i < 100; i++) region.map({ offset: 2 * i * PAGE, length: PAGE })
    expect(await region.mappingsAsync()).toEqual(region.mappings())
  })
})

describeOn('msharefs', 'nothing blocks', () => {
  test('a stopped attacher holds nothing up', async () => {
    using region = Region.create('moving', { size: '1GiB' })
    const peer = new Peer()
    await peer.run(({ Region, kept }) => {
      kept.view = Region.open('moving').attach()
    })
    await peer.stop()
    expect(await region.mapAsync({ length: PAGE })).toEqual({ offset: 0, length: PAGE })
    expect(region.info()).toMatchObject({ generation: 1, stragglers: 0, attachments: 1 })
    peer.signal('SIGCONT')
    expect(await peer.run(({ kept }) => kept.view.buffer()[0])).toBe(0)
    Region.unlink('moving')
  })
})

describeOn('shm', 'what blocks', () => {
  test('holds up neither the event loop nor the pool of libuv', async () => {
    using region = Region.create('blocked', { size: '1GiB' })
    const peer = new Peer()
    await peer.run(({ Region, kept }) => {
      kept.view = Region.open('blocked').attach()
    })
    await peer.stop()
    const before = readThreads()
    let done = 0
    // More than the pool has threads.
    const pending = Array.from({ length: 8 }, () =>
      region.mapAsync({ length: PAGE }).finally(() => done++),
    )
    for (let i = 0; i < 100; i++) await new Promise(setImmediate)
    await Promise.all(Array.from({ length: 16 }, () => readFile('/proc/self/maps')))
    // The first has been published; it waits, and so do those behind it.
    while (region.info().generation === 0) await new Promise(setImmediate)
    expect(region.info()).toMatchObject({ generation: 1, stragglers: 1 })
    expect(done).toBe(0)
    expect(readThreads() - before).toBeLessThanOrEqual(4 + 8)
    peer.signal('SIGCONT')
    const offsets = (await Promise.all(pending)).map(({ offset }) => offset)
    expect(offsets.sort((a, b) => a - b)).toEqual(Array.from({ length: 8 }, (_, i) => i * PAGE))
    Region.unlink('blocked')
  })

  test('keeps its descriptor when the region is closed meanwhile', async () => {
    const region = Region.create('closing', { size: '1GiB' })
    using other = Region.open('closing')
    const peer = new Peer()
    await peer.run(({ Region, kept }) => {
      kept.view = Region.open('closing').attach()
    })
    await peer.stop()
    const mapped = region.mapAsync({ offset: 0, length: PAGE })
    const attached = region.attachAsync()
    while (other.info().generation === 0) await new Promise(setImmediate)
    const { fd } = region
    region.close()
    expect(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')).toMatch(/flags/)
    peer.signal('SIGCONT')
    expect(await mapped).toEqual({ offset: 0, length: PAGE })
    await rejected('ERR_CLOSED', attached)
    expect(other.info().attachments).toBe(1)
    expect(() => readFileSync(`/proc/self/fdinfo/${fd}`)).toThrow('ENOENT')
    Region.unlink('closing')
  })
})

describe('the worker thread', () => {
  test('is one', async () => {
    using region = Region.unnamed({ size: '1GiB' })
    await region.infoAsync()
    const before = readThreads()
    await Promise.all(Array.from({ length: 20 }, () => region.infoAsync()))
    expect(readThreads()).toBe(before)
  })

  test('does not keep a process alive that has nothing else to do', async () => {
    using region = Region.unnamed({ size: '1GiB' })
    const peer = new Peer({ stdio: [region.fd] })
    expect(
      await peer.last(async ({ Region }) => {
        await Region.fromFd(3).mapAsync({ length: 4096 })
        // What the test keeps it alive by.
        process.disconnect()
      }),
    ).toEqual([0, null])
    expect(region.info().mapped).toBe(PAGE)
  })

  test('does keep it while a call is pending', async () => {
    using region = Region.unnamed({ size: '1GiB' })
    const peer = new Peer({ stdio: [region.fd] })
    expect(
      await peer.last(({ Region }) => {
        const region = Region.fromFd(3)
        setImmediate(() => process.disconnect())
        region.mapAsync({ length: 4096 }).then(({ length }) => {
          process.exitCode = length / 4096 + 40
        })
      }),
    ).toEqual([41, null])
  })

  test('is had by other worker threads as well', async () => {
    using region = Region.create('threads', { size: '1GiB' })
    const thread = new Thread()
    const offset = await thread.run(async ({ Region }) => {
      const region = await Region.openAsync('threads')
      const view = await region.attachAsync()
      const { offset } = await region.mapAsync({ length: 4096 })
      view.buffer(offset).write('thread')
      await region.closeAsync()
      return offset
    })
    using view = region.attach()
    expect(view.buffer(offset, 6).toString()).toBe('thread')
    await thread.finish()
    expect(region.info().attachments).toBe(1)
    Region.unlink('threads')
  })
})
