// SPDX-License-Identifier: MIT

import { execFileSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { Region } from '@mshare/core'
import { afterEach, describe, expect, test } from 'vitest'
import { describeOn, GiB, Native, ON_MSHAREFS, PAGE, Peer, thrown, useRoot } from './util.js'

const root = useRoot()
const descriptors = () => readdirSync('/proc/self/fd').length

describe('making and opening', () => {
  test('create makes what open finds, and only one', () => {
    using made = Region.create('made', { size: '2GiB', mode: 0o640 })
    expect(made.name).toBe('made')
    expect(made.access).toBe('rw')
    expect(made.info()).toMatchObject({ window: 2 * GiB, mapped: 0, generation: 0 })
    expect(fstatSync(made.fd).mode & 0o777).toBe(0o640 & ~process.umask())
    thrown('EEXIST', () => Region.create('made', { size: '2GiB' }))
    using opened = Region.open('made')
    expect(opened.info().base).toBe(made.info().base)
    Region.unlink('made')
  })

  test('a create that cannot reserve leaves nothing behind', () => {
    const before = descriptors()
    thrown('EINVAL', () => Region.create('bad', { size: 12345 }))
    thrown('EINVAL', () => Region.create('bad', { size: 0 }))
    thrown('EINVAL', () => Region.create('bad', { size: '1GiB', base: 4096 }))
    thrown('EINVAL', () => Region.unnamed({ size: 1 }))
    expect(Region.list()).toEqual([])
    expect(descriptors()).toBe(before)
  })

  test('openOrCreate takes what there is, and does not ask for its own size', () => {
    using first = Region.openOrCreate('either', { size: '1GiB' })
    using second = Region.openOrCreate('either', { size: '4GiB' })
    expect(second.info()).toMatchObject({ window: GiB, base: first.info().base })
    thrown('EINVAL', () => Region.openOrCreate('other', { size: 1 }))
    Region.unlink('either')
    // Who made it is not known, so it stays.
    Region.unlink('other')
  })

  test('openOrCreate finishes what a creator that died began', () => {
    writeFileSync(`${root.path}/born`, '')
    using region = Region.openOrCreate('born', { size: '1GiB' })
    expect(region.info().window).toBe(GiB)
    Region.unlink('born')
  })

  test('a base that is asked for is had, by every attachment', () => {
    const free = Region.unnamed({ size: '1GiB' })
    const { base } = free.info()
    free.close()
    using region = Region.unnamed({ size: '1GiB', base })
    using view = region.attach()
    expect(view.address).toBe(base)
  })

  test('a descriptor goes to a child by stdio, and is taken up there', async () => {
    using region = Region.unnamed({ size: '1GiB' })
    const peer = new Peer({ stdio: [region.fd] })
    const offset = await peer.run(({ Region }) => {
      const region = Region.fromFd(3)
      const { offset } = region.map({ length: 4096 })
      region.attach().buffer(offset).write('from the child')
      return offset
    })
    using view = region.attach()
    expect(view.buffer(offset, 14).toString()).toBe('from the child')
  })

  test('fromFd leaves alone what is no region', () => {
    const fd = openSync('/dev/null', 'r+')
    thrown('EINVAL', () => Region.fromFd(fd))
    fstatSync(fd)
    closeSync(fd)
    thrown('EBADF', () => Region.fromFd(fd))
  })

  test('reopen gives a description of its own', () => {
    using region = Region.unnamed({ size: '1GiB' })
    using reader = region.reopen('r')
    using writer = region.reopen('rw')
    expect(writer.map({ length: PAGE })).toEqual({ offset: 0, length: PAGE })
    expect(reader.mappings()).toEqual(region.mappings())
  })

  test('close closes, once, and what is asked afterwards is ERR_CLOSED', async () => {
    const before = descriptors()
    const region = Region.unnamed({ size: '1GiB' })
    const { fd } = region
    expect(descriptors()).toBe(before + 1)
    region.close()
    region.close()
    expect(region.closed).toBe(true)
    expect(() => fstatSync(fd)).toThrow('EBADF')
    const length = PAGE
    for (const ask of [
      () => region.fd,
      () => region.reserve({ size: '1GiB' }),
      () => region.map({ length }),
      () => region.unmap({ length }),
      () => region.protect({ length, prot: 'r' }),
      () => region.advise({ length, advice: 'normal' }),
      () => region.attach(),
      () => region.reopen('r'),
      () => region.info(),
      () => region.mappings(),
    ]) {
      thrown('ERR_CLOSED', ask)
    }
    await expect(region.mapAsync({ length })).rejects.toHaveProperty('code', 'ERR_CLOSED')
  })

  test('attaching and detaching over and over leaks nothing', () => {
    using region = Region.unnamed({ size: '1GiB' })
    region.map({ length: PAGE })
    region.attach().detach()
    const count = () => [descriptors(), readdirSync('/proc/self/task').length]
    const before = count()
    for (let i = 0; i < 300; i++) {
      using view = region.attach()
      expect(view.array(Int32Array)[0]).toBe(i)
      view.array(Int32Array)[0] = i + 1
    }
    expect(count()).toEqual(before)
  })
})

describe('contents', () => {
  test('map without an offset takes the lowest gap that fits', () => {
    using region = Region.unnamed({ size: '1GiB' })
    expect(region.map({ length: '64KiB' })).toEqual({ offset: 0, length: 65536 })
    expect(region.map({ length: 3 * PAGE })).toEqual({ offset: 65536, length: 3 * PAGE })
    region.unmap({ offset: PAGE, length: 2 * PAGE })
    expect(region.map({ length: 3 * PAGE }).offset).toBe(65536 + 3 * PAGE)
    expect(region.map({ length: 2 * PAGE }).offset).toBe(PAGE)
    expect(region.map({ length: GiB - 2 ** 20, reserve: false }).offset).toBeGreaterThan(65536)
    const error = thrown('ENOMEM', () => region.map({ length: GiB / 2 }))
    expect(error.message).toMatch(/1073741824.*longest/)
    thrown('ENOMEM', () => region.map({ length: '2GiB' }))
  })

  test('map without an offset finds one while peers do the same', async () => {
    using region = Region.create('race', { size: '1GiB' })
    const task = ({ Region }: typeof import('@mshare/core')) => {
      const region = Region.open('race')
      return Array.from({ length: 50 }, () => region.map({ length: 4096 }).offset)
    }
    const peers = [new Peer(), new Peer()]
    // All are up before any begins.
    await Promise.all(peers.map((peer) => peer.run(() => {})))
    const theirs = peers.map((peer) => peer.run(task))
    const ours: number[] = []
    for (let i = 0; i < 50; i++) {
      ours.push(region.map({ length: PAGE }).offset)
      await new Promise(setImmediate)
    }
    const all = [...ours, ...(await Promise.all(theirs)).flat()].sort((a, b) => a - b)
    expect(all).toEqual(Array.from({ length: 150 }, (_, i) => i * PAGE))
    Region.unlink('race')
  })

  test('map without an offset looks again when somebody was quicker', async () => {
    using region = Region.unnamed({ size: '1GiB' })
    // All of them look before the first maps.
    const maps = Array.from({ length: 10 }, () => region.mapAsync({ length: PAGE }))
    const offsets = (await Promise.all(maps)).map(({ offset }) => offset)
    expect(offsets.sort((a, b) => a - b)).toEqual(maps.map((_, i) => i * PAGE))
  })

  test('mappings are maximal runs, with their protection', () => {
    using region = Region.unnamed({ size: '1GiB' })
    for (const prot of ['none', 'r', 'rw', 'rx', 'rwx'] as const) {
      region.map({ length: PAGE, prot })
      region.map({ length: PAGE, prot })
    }
    expect(region.mappings().map(({ length, prot }) => [length, prot])).toEqual(
      ['none', 'r', 'rw', 'rx', 'rwx'].map((prot) => [2 * PAGE, prot]),
    )
    region.protect({ length: 10 * PAGE, prot: 'r' })
    expect(region.mappings()).toHaveLength(1)
  })

  test('there can be more mappings than were expected', () => {
    using region = Region.unnamed({ size: '1GiB' })
    for (let i = 0; i < 300; i++) region.map({ offset: 2 * i * PAGE, length: PAGE })
    const mappings = region.mappings()
    expect(mappings).toHaveLength(300)
    expect(mappings[299]?.offset).toBe(2 * 299 * PAGE)
    expect(region.info().mappings).toBe(300)
  })

  test('advice: remove frees and zeroes, dontneed does not, populate allocates', () => {
    using region = Region.unnamed({ size: '1GiB' })
    region.map({ length: PAGE })
    using view = region.attach()
    view.buffer().fill(1)
    for (const advice of ['normal', 'willneed', 'dontneed'] as const) {
      region.advise({ length: PAGE, advice })
      expect(view.buffer()[0]).toBe(1)
    }
    region.advise({ length: PAGE, advice: 'remove' })
    expect(region.info().resident).toBe(0)
    expect(view.buffer()[0]).toBe(0)
    for (const advice of ['populate-read', 'populate-write'] as const) {
      region.advise({ length: PAGE, advice: 'remove' })
      region.advise({ length: PAGE, advice })
      expect(region.info().resident).toBe(PAGE)
    }
    thrown('ENOMEM', () => region.advise({ offset: PAGE, length: PAGE, advice: 'normal' }))
  })

  test('what C refuses, as C says it', () => {
    using region = Region.unnamed({ size: '1GiB' })
    region.map({ length: PAGE })
    const before = { ...region.info(), mappings: region.mappings() }
    for (const range of [
      { offset: 0, length: 0 },
      { offset: 1, length: PAGE },
      { offset: 0, length: PAGE + 1 },
      { offset: GiB, length: PAGE },
      { offset: GiB - PAGE, length: 2 * PAGE },
      { offset: 0, length: '2GiB' as const },
      { offset: Number.MAX_SAFE_INTEGER - 4095, length: PAGE },
      { offset: PAGE, length: Number.MAX_SAFE_INTEGER - 4095 },
    ]) {
      thrown('EINVAL', () => region.map(range))
      thrown('EINVAL', () => region.unmap(range))
      thrown('EINVAL', () => region.protect({ ...range, prot: 'r' }))
      thrown('EINVAL', () => region.advise({ ...range, advice: 'normal' }))
    }
    thrown('EINVAL', () => region.map({ length: 0 }))
    thrown('EINVAL', () => region.attach({ address: 4096n }))
    thrown('EOPNOTSUPP', () => region.map({ offset: PAGE, length: PAGE, hugetlb: true }))
    const backing = { fd: region.fd, offset: '4KiB' as const }
    // Where files can back a region, regions cannot.
    const code = region.info().fileBacking ? 'EINVAL' : 'EOPNOTSUPP'
    thrown(code, () => region.map({ offset: PAGE, length: PAGE, backing }))
    expect({ ...region.info(), mappings: region.mappings() }).toEqual(before)
  })

  test('errors say what failed, on what, why, what to do', () => {
    using region = Region.create('told', { size: '1GiB' })
    region.map({ length: PAGE })
    const error = thrown('EEXIST', () => region.map({ offset: 0, length: PAGE }))
    expect(error).toMatchObject({
      name: 'MshareError',
      errno: 17,
      syscall: 'mshare_map',
      path: 'told',
      hint: expect.stringContaining('offset'),
    })
    expect(error.message).toMatch(/^'told': mshare_map: .*0x0.*File exists.*Leave `offset` out/)
    Region.unlink('told')
  })
})

describe('a stopped attacher', () => {
  afterEach(() => Region.setTimeout(10_000))

  test('ETIMEDOUT for the change it does not follow, EBUSY for the next, and then all is well; or, with shared page tables, nothing of that', async () => {
    using region = Region.create('stopped', { size: '1GiB' })
    const peer = new Peer()
    await peer.run(({ Region, kept }) => {
      kept.view = Region.open('stopped').attach()
    })
    await peer.stop()
    Region.setTimeout(100)
    if (region.info().sharedPageTables) {
      region.map({ length: 2 * PAGE })
      region.unmap({ offset: PAGE, length: PAGE })
      expect(region.info()).toMatchObject({ generation: 2, stragglers: 0, attachments: 1 })
      peer.signal('SIGCONT')
      expect(await peer.run(({ kept }) => kept.view.buffer().length)).toBe(PAGE)
      Region.unlink('stopped')
      return
    }
    thrown('ETIMEDOUT', () => region.map({ offset: 0, length: PAGE }))
    expect(region.info()).toMatchObject({ generation: 1, stragglers: 1, attachments: 1 })
    thrown('EBUSY', () => region.map({ offset: PAGE, length: PAGE }))
    expect(region.info()).toMatchObject({ generation: 1 })
    Region.setTimeout(0)
    peer.signal('SIGCONT')
    region.map({ offset: PAGE, length: PAGE })
    expect(region.info()).toMatchObject({ generation: 2, stragglers: 0, mapped: 2 * PAGE })
    Region.unlink('stopped')
  })
})

describeOn('msharefs', 'regions as files', () => {
  test('a region cannot be written over nor cut short', () => {
    using region = Region.create('whole', { size: '1GiB' })
    region.map({ length: PAGE })
    const path = `${root.path}/whole`
    expect(() => writeFileSync(path, 'noise', { flag: 'r+' })).toThrow('EINVAL')
    expect(() => truncateSync(path, 0)).toThrow()
    expect(() => writeFileSync(path, '')).toThrow()
    expect(region.info()).toMatchObject({ window: GiB, mapped: PAGE })
    Region.unlink('whole')
  })

  test('there are no links, FIFOs', () => {
    expect(() => symlinkSync('/etc/passwd', `${root.path}/link`)).toThrow('EPERM')
    expect(() => execFileSync('mkfifo', [`${root.path}/fifo`], { stdio: 'ignore' })).toThrow()
    expect(Region.list()).toEqual([])
  })

  test('a file backs a mapping', () => {
    using region = Region.unnamed({ size: '1GiB' })
    const path = `/dev/shm/mshare-backing-${process.pid}`
    writeFileSync(path, Buffer.alloc(2 * PAGE, 'file'))
    const fd = openSync(path, 'r+')
    rmSync(path)
    region.map({ offset: 0, length: PAGE, backing: { fd, offset: PAGE } })
    closeSync(fd)
    using view = region.attach()
    expect(view.buffer(0, 4).toString()).toBe('file')
  })
})

describeOn('shm', 'hostile files', () => {
  test('noise is no region, and a region scribbled over is damaged', () => {
    writeFileSync(`${root.path}/noise`, Buffer.alloc(8192, 0x5a))
    thrown('EINVAL', () => Region.open('noise'))
    using region = Region.create('scribbled', { size: '1GiB' })
    region.map({ length: PAGE })
    const view = region.attach()
    writeFileSync(`${root.path}/scribbled`, Buffer.alloc(4096, 0xff), { flag: 'r+' })
    expect(['EINVAL', 'EUCLEAN']).toContain(codeOf(() => region.info()))
    expect(['EINVAL', 'EUCLEAN']).toContain(codeOf(() => region.map({ length: PAGE })))
    expect(['EINVAL', 'EUCLEAN']).toContain(codeOf(() => view.buffer()))
    expect(['EINVAL', 'EUCLEAN']).toContain(codeOf(() => Region.open('scribbled')))
    view.detach()
    for (const name of ['noise', 'scribbled']) Region.unlink(name)
  })

  test('a region cut short is damaged', () => {
    using region = Region.create('short', { size: '1GiB' })
    region.map({ length: PAGE })
    truncateSync(`${root.path}/short`, GiB)
    thrown('EUCLEAN', () => region.attach())
    thrown('EUCLEAN', () => region.map({ offset: PAGE, length: PAGE }))
    Region.unlink('short')
  })

  test('links, FIFOs, directories, long names', () => {
    symlinkSync('/etc/passwd', `${root.path}/link`)
    symlinkSync('nowhere', `${root.path}/dangling`)
    symlinkSync('loop', `${root.path}/loop`)
    execFileSync('mkfifo', [`${root.path}/fifo`])
    mkdirSync(`${root.path}/directory`)
    for (const name of ['link', 'dangling', 'loop', 'link/a']) {
      thrown('ELOOP', () => Region.open(name))
      thrown('ELOOP', () => Region.openOrCreate(name, { size: '1GiB' }))
    }
    thrown('EINVAL', () => Region.open('fifo'))
    thrown('EISDIR', () => Region.open('directory'))
    thrown('ENAMETOOLONG', () => Region.create('x'.repeat(256), { size: '1GiB' }))
    thrown('ENOENT', () => Region.open('not/there'))
    expect(existsSync(`${root.path}/nowhere`)).toBe(false)
    for (const name of ['link', 'dangling', 'loop', 'fifo', 'directory']) {
      rmSync(`${root.path}/${name}`, { recursive: true })
    }
  })

  function codeOf(work: () => unknown): string | undefined {
    try {
      work()
    } catch (error) {
      return (error as { code: string }).code
    }
    return undefined
  }
})

describe('the names there are', () => {
  test('mkdir, list, rmdir', () => {
    Region.mkdir('one')
    Region.mkdir('one/two', 0o755)
    for (const name of ['z', 'one/a', 'one/two/b']) Region.create(name, { size: '1GiB' }).close()
    // A link is no name of a region, where there can be links.
    if (!ON_MSHAREFS) symlinkSync('/', `${root.path}/one/link`)
    expect(Region.list()).toEqual(['one/a', 'one/two/b', 'z'])
    expect(Region.list('one')).toEqual(['one/a', 'one/two/b'])
    expect(Region.list('one/two')).toEqual(['one/two/b'])
    expect(thrown('ENOENT', () => Region.list('nothing')).message).toMatch(
      /^list: 'nothing' cannot be listed: no such file or directory\. Pass/,
    )
    thrown('ENOTDIR', () => Region.list('z'))
    expect(['ENOTDIR', 'ELOOP', 'ENOENT']).toContain(
      (thrownBy(() => Region.list('one/link')) as { code: string }).code,
    )
    thrown('ENOTEMPTY', () => Region.rmdir('one/two'))
    thrown('EEXIST', () => Region.mkdir('one'))
    rmSync(`${root.path}/one/link`, { force: true })
    for (const name of ['z', 'one/a', 'one/two/b']) Region.unlink(name)
    Region.rmdir('one/two')
    Region.rmdir('one')
    expect(Region.list()).toEqual([])
  })

  function thrownBy(work: () => unknown): unknown {
    try {
      return work()
    } catch (error) {
      return error
    }
  }
})

test('the sentences of an error survive what happens in between', async () => {
  using region = Region.unnamed({ size: '1GiB' })
  const [failed] = await Promise.allSettled([
    region.mapAsync({ offset: 1, length: PAGE }),
    Promise.resolve(thrown('ENODATA', () => Region.unnamed({}).attach())),
  ])
  expect(failed).toMatchObject({ status: 'rejected', reason: { code: 'EINVAL' } })
})

test('C reads what Node was told about a region', async () => {
  using region = Region.create('both', { size: '1GiB' })
  region.map({ length: PAGE })
  const c = new Native()
  expect(await c.ask('open', 'both', 0)).toBe('0')
  expect(BigInt(await c.ask('attach', 1))).toBe(region.info().base)
  expect(await c.ask('map', PAGE, PAGE, 3)).toBe('EACCES')
  expect(region.info().attachments).toBe(1)
  expect(await c.ask('detach')).toBe('0')
  expect(region.info().attachments).toBe(0)
  Region.unlink('both')
})
