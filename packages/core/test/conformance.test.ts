// SPDX-License-Identifier: MIT
//
// The contract, rule by rule, between processes: what libmshare/test asks of C, asked of Node.

import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Region } from '@mshare/core'
import { describe, expect, test } from 'vitest'
import { type Context, GiB, Native, PAGE, Peer, Thread, thrown, useRoot } from './util.js'

const root = useRoot()
let count = 0
const newName = () => `region-${count++}`

/** The lines of /proc/PID/maps or smaps that begin in a window. */
function lines(base: bigint, size: number, file = '/proc/self/maps'): string[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => {
      const at = /^([0-9a-f]+)-/.exec(line)?.[1]
      return (
        at !== undefined && BigInt(`0x${at}`) >= base && BigInt(`0x${at}`) < base + BigInt(size)
      )
    })
}

describe('rule 1: an empty address space first', () => {
  test('a new region has no window, and gets one once', () => {
    using region = Region.unnamed({})
    expect(region.info()).toMatchObject({ window: 0, base: 0n, mappings: 0 })
    thrown('ENODATA', () => region.attach())
    thrown('ENODATA', () => region.map({ length: PAGE }))
    region.reserve({ size: '2GiB' })
    expect(region.info().window).toBe(2 * GiB)
    thrown('EEXIST', () => region.reserve({ size: '1GiB' }))
    expect(region.info().window).toBe(2 * GiB)
  })

  test('a window costs no memory until something is mapped', () => {
    using region = Region.unnamed({ size: '1TiB' })
    using _ = region.attach()
    expect(region.info()).toMatchObject({ mapped: 0, resident: 0 })
    region.map({ length: '1MiB', offset: '512GiB' })
    // shm allocates what it promises, msharefs accounts for it.
    const resident = region.info().sharedPageTables ? 0 : 2 ** 20
    expect(region.info()).toMatchObject({ mapped: 2 ** 20, resident })
  })
})

describe('rule 2: contents are changed through the descriptor', () => {
  test('by whoever has it open read-write, attached or not', async () => {
    const name = newName()
    using region = Region.create(name, { size: '1GiB' })
    const other = new Peer()
    await other.run(({ Region }, name) => {
      Region.open(name).map({ offset: 4096, length: 4096, prot: 'r' })
    }, name)
    expect(region.mappings()).toEqual([
      { offset: PAGE, length: PAGE, prot: 'r', reserve: true, hugetlb: false },
    ])
    Region.unlink(name)
  })

  test('all or nothing: EEXIST over what is mapped, 0 for a hole unmapped, ENOMEM for one protected', () => {
    using region = Region.unnamed({ size: '1GiB' })
    region.map({ offset: PAGE, length: PAGE })
    const before = region.mappings()
    thrown('EEXIST', () => region.map({ offset: 0, length: 3 * PAGE }))
    thrown('ENOMEM', () => region.protect({ offset: 0, length: 3 * PAGE, prot: 'r' }))
    region.unmap({ offset: 16 * PAGE, length: PAGE })
    expect(region.mappings()).toEqual(before)
    region.unmap({ offset: 0, length: 3 * PAGE })
    expect(region.mappings()).toEqual([])
  })
})

describe("rule 3: a change is every attacher's change", () => {
  test('map, protect and unmap are in force in a process in C that calls nothing', async () => {
    const name = newName()
    using region = Region.create(name, { size: '1GiB' })
    using view = region.attach()
    const c = new Native()
    await c.ask('open', name, 2)
    await c.ask('attach', 3)
    region.map({ length: PAGE })
    expect(await c.ask('store', 0, 7)).toBe('0')
    expect(view.array(Int32Array)[0]).toBe(7)
    region.protect({ length: PAGE, prot: 'r', force: true })
    expect(await c.ask('load', 0)).toBe('7')
    region.unmap({ length: PAGE })
    expect(await c.last('load', 0)).toEqual([null, 'SIGSEGV'])
    Region.unlink(name)
  })

  test('what C maps and stores, JavaScript sees', async () => {
    const name = newName()
    using region = Region.create(name, { size: '1GiB' })
    using view = region.attach()
    const c = new Native()
    await c.ask('open', name, 2)
    expect(BigInt(await c.ask('attach', 3))).toBe(view.address)
    expect(await c.ask('map', PAGE, PAGE, 3)).toBe('0')
    expect(await c.ask('store', PAGE, 42)).toBe('0')
    expect(view.dataView(PAGE).getInt32(0, true)).toBe(42)
    thrown('ERR_NOT_MAPPED', () => view.buffer(0))
    Region.unlink(name)
  })

  test('a Node peer that touches what was protected is killed, and nobody else', async () => {
    const name = newName()
    using region = Region.create(name, { size: '1GiB' })
    region.map({ length: PAGE })
    using view = region.attach()
    const peer = new Peer()
    await peer.run(({ Region, kept }, name) => {
      kept.bytes = Region.open(name).attach().buffer()
    }, name)
    region.protect({ length: PAGE, prot: 'none' })
    expect(await peer.last(({ kept }) => kept.bytes[0])).toEqual([null, 'SIGSEGV'])
    region.protect({ length: PAGE, prot: 'rw' })
    expect(view.buffer()[0]).toBe(0)
    Region.unlink(name)
  })
})

describe('rule 4: same address by default', () => {
  test('in every process', async () => {
    const name = newName()
    using region = Region.create(name, { size: '1GiB' })
    using view = region.attach()
    const peer = new Peer()
    const address = await peer.run(({ Region }, name) => Region.open(name).attach().address, name)
    expect(address).toBe(view.address)
    expect(address).toBe(region.info().base)
    Region.unlink(name)
  })

  test('EADDRINUSE where something is mapped, or another address if any will do', () => {
    using first = Region.unnamed({ size: '1GiB' })
    using view = first.attach()
    using second = Region.unnamed({ size: '1GiB', base: view.address })
    thrown('EADDRINUSE', () => second.attach())
    thrown('EADDRINUSE', () => second.attach({ address: view.address }))
    using elsewhere = second.attach({ anywhere: true })
    expect(elsewhere.address).not.toBe(view.address)
    first.map({ length: PAGE })
    second.map({ length: PAGE })
    view.buffer().fill(1)
    expect(elsewhere.buffer()[0]).toBe(0)
  })
})

describe('rule 5: a hole faults', () => {
  test('SIGSEGV in the process that touches it; here no view of it is handed out', async () => {
    const name = newName()
    using region = Region.create(name, { size: '1GiB' })
    region.map({ length: PAGE })
    using view = region.attach()
    thrown('ERR_NOT_MAPPED', () => view.buffer(PAGE, 1))
    thrown('ERR_NOT_MAPPED', () => view.buffer(0, PAGE + 1))
    const c = new Native()
    await c.ask('open', name, 2)
    await c.ask('attach', 3)
    expect(await c.last('load', PAGE)).toEqual([null, 'SIGSEGV'])
    Region.unlink(name)
  })

  test('against the protection', async () => {
    const name = newName()
    using region = Region.create(name, { size: '1GiB' })
    region.map({ length: PAGE, prot: 'r' })
    const peer = new Peer()
    const how = await peer.last(({ Region }, name) => {
      Region.open(name).attach().buffer()[0] = 1
    }, name)
    expect(how).toEqual([null, 'SIGSEGV'])
    Region.unlink(name)
  })
})

describe('rule 6: rights are file rights', () => {
  test('opened read-only, nothing can be changed, and stores are killed', async () => {
    const name = newName()
    using region = Region.create(name, { size: '1GiB' })
    region.map({ length: PAGE })
    using reader = Region.open(name, { access: 'r' })
    thrown('EACCES', () => reader.map({ length: PAGE, offset: PAGE }))
    thrown('EACCES', () => reader.unmap({ length: PAGE }))
    thrown('EACCES', () => reader.protect({ length: PAGE, prot: 'r' }))
    thrown('EACCES', () => reader.advise({ length: PAGE, advice: 'remove' }))
    thrown('EACCES', () => reader.attach({ prot: 'rw' }))
    using view = reader.attach()
    expect(view.prot).toBe('r')
    expect(view.buffer()[0]).toBe(0)
    const peer = new Peer()
    const how = await peer.last(({ Region }, name) => {
      const view = Region.open(name, { access: 'r' }).attach()
      ;(view.array(Uint8Array) as Uint8Array)[0] = 1
    }, name)
    expect(how).toEqual([null, 'SIGSEGV'])
    Region.unlink(name)
  })

  test('a read-only attachment cannot be read(2) into', () => {
    using region = Region.unnamed({ size: '1GiB' })
    region.map({ length: PAGE })
    using reader = region.reopen('r')
    using view = reader.attach()
    const file = openSync(process.execPath, 'r')
    thrown('EFAULT', () => readSync(file, view.buffer() as Buffer, 0, 8, 0))
    closeSync(file)
  })

  // It takes root to become somebody else.
  test.runIf(process.getuid?.() === 0)('modes and directories decide who opens it', async () => {
    Region.mkdir('closed', 0o700)
    Region.mkdir('open', 0o755)
    using _a = Region.create('closed/a', { size: '1GiB', mode: 0o644 })
    using b = Region.create('open/b', { size: '1GiB', mode: 0o644 })
    using _c = Region.create('open/c', { size: '1GiB', mode: 0o600 })
    b.map({ length: PAGE })
    const peer = new Peer()
    const codes = await peer.run(({ Region }) => {
      // Loaded before the change: others may not look into the package's directory.
      Region.probe()
      process.setgid?.(65534)
      process.setuid?.(65534)
      const attempt = (work: () => unknown) => {
        try {
          work()
          return 'done'
        } catch (error) {
          return (error as { code: string }).code
        }
      }
      return [
        attempt(() => Region.open('closed/a', { access: 'r' })),
        attempt(() => Region.open('open/b')),
        attempt(() => Region.open('open/b', { access: 'r' }).attach().buffer()[0]),
        attempt(() => Region.open('open/c', { access: 'r' })),
        attempt(() => Region.unlink('open/b')),
        attempt(() => Region.create('open/d', { size: '1GiB' })),
      ]
    })
    expect(codes).toEqual(['EACCES', 'EACCES', 'done', 'EACCES', 'EACCES', 'EACCES'])
    for (const name of ['closed/a', 'open/b', 'open/c']) Region.unlink(name)
    Region.rmdir('closed')
    Region.rmdir('open')
  })

  test('the descriptor of an unnamed region, made weaker, stays so', () => {
    using region = Region.unnamed({ size: '1GiB', mode: 0o444 })
    using weak = region.reopen('r')
    expect(weak.access).toBe('r')
    thrown('EACCES', () => weak.map({ length: PAGE }))
  })
})

describe('rule 7: names are names', () => {
  test.each([
    '',
    '/a',
    'a/',
    'a//b',
    '.',
    '..',
    './a',
    '../a',
    'a/.',
    'a/..',
    'a/../b',
    'mshare_info',
  ])('EINVAL for %j, whatever is asked', (name) => {
    thrown('EINVAL', () => Region.create(name, { size: '1GiB' }))
    thrown('EINVAL', () => Region.open(name))
    thrown('EINVAL', () => Region.openOrCreate(name, { size: '1GiB' }))
    thrown('EINVAL', () => Region.unlink(name))
    thrown('EINVAL', () => Region.mkdir(name))
    thrown('EINVAL', () => Region.rmdir(name))
    if (name !== '' && name !== 'mshare_info') thrown('EINVAL', () => Region.list(name))
  })

  test('unlink takes the name, and only that', () => {
    using region = Region.create('only', { size: '1GiB' })
    Region.unlink('only')
    thrown('ENOENT', () => Region.open('only'))
    thrown('ENOENT', () => Region.unlink('only'))
    expect(region.map({ length: PAGE })).toEqual({ offset: 0, length: PAGE })
  })
})

describe("rule 8: lifetime is a file's lifetime", () => {
  test("the creator's exit changes nothing", async () => {
    const name = newName()
    const creator = new Peer()
    await creator.run(({ Region }, name) => {
      const region = Region.create(name, { size: '1GiB' })
      region.map({ length: 4096 })
      region.attach().buffer().write('still here')
    }, name)
    await creator.kill()
    using region = Region.open(name)
    using view = region.attach()
    expect(view.buffer(0, 10).toString()).toBe('still here')
    Region.unlink(name)
  })

  test('unlinked and closed everywhere, but attached, it lives on', async () => {
    const name = newName()
    const region = Region.create(name, { size: '1GiB' })
    region.map({ length: PAGE })
    const c = new Native()
    await c.ask('open', name, 2)
    await c.ask('attach', 3)
    await c.ask('store', 0, 5)
    Region.unlink(name)
    region.close()
    expect(await c.ask('load', 0)).toBe('5')
  })

  test('the last one gone, nothing of it is left', () => {
    const region = Region.unnamed({ size: '1GiB' })
    const { base } = region.info()
    region.map({ length: PAGE })
    region.attach().buffer().fill(1)
    expect(lines(base, GiB).length).toBeGreaterThan(0)
    region.close()
    expect(lines(base, GiB)).toEqual([])
  })
})

describe('rule 9: death is harmless', () => {
  test('a peer killed in the middle of changes leaves a region that works', async () => {
    const name = newName()
    using region = Region.create(name, { size: '1GiB' })
    region.map({ length: PAGE })
    using view = region.attach()
    const counter = view.array(Int32Array)
    for (let round = 0; round < 3; round++) {
      const before = counter[0] as number
      const peer = new Peer()
      const dead = peer.last(({ Region }, name) => {
        const region = Region.open(name)
        const counter = region.attach().array(Int32Array)
        for (;;) {
          const { offset } = region.map({ length: 65536 })
          region.protect({ offset, length: 4096, prot: 'r' })
          region.unmap({ offset, length: 65536 })
          Atomics.add(counter, 0, 1)
        }
      }, name)
      while (Atomics.load(counter, 0) < before + 20) await new Promise(setImmediate)
      peer.signal('SIGKILL')
      expect(await dead).toEqual([null, 'SIGKILL'])
      const { offset } = region.map({ length: PAGE })
      region.unmap({ offset, length: PAGE })
      expect(region.info()).toMatchObject({ attachments: 1, stragglers: 0 })
      // What it had mapped when it died stays, as a file's contents would.
      region.unmap({ offset: PAGE, length: '1MiB' })
      expect(region.mappings()).toHaveLength(1)
    }
    Region.unlink(name)
  })
})

describe('rule 10: fork inherits unless told otherwise, as it is here; exec drops', () => {
  // JavaScript cannot run in what is forked from Node (V8's own pages are left out), so that is seen
  // from here.
  test('windows are left out of what fork copies', () => {
    using region = Region.unnamed({ size: '1GiB' })
    region.map({ length: PAGE })
    using view = region.attach()
    const smaps = readFileSync('/proc/self/smaps', 'utf8').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)
    const ours = smaps.filter((part) => part.startsWith(view.address.toString(16)))
    expect(ours).toHaveLength(1)
    expect(ours[0]).toMatch(/^VmFlags:.* dc( |$)/m)
  })

  test('a child has no attachment, and can make its own', async () => {
    using region = Region.unnamed({ size: '1GiB' })
    region.map({ length: PAGE })
    using view = region.attach()
    const peer = new Peer({ stdio: [region.fd] })
    await peer.run(() => {})
    expect(lines(view.address, view.size, `/proc/${peer.pid}/maps`)).toEqual([])
    expect(region.info().attachments).toBe(1)
    await peer.run(({ Region }) => {
      Region.fromFd(3).attach().buffer().write('child')
    })
    expect(view.buffer(0, 5).toString()).toBe('child')
    expect(region.info().attachments).toBe(2)
  })
})

describe('rule 11: an attachment is a unit', () => {
  test('detach takes the whole window out of the process', () => {
    using region = Region.unnamed({ size: '1GiB' })
    for (let i = 0; i < 4; i++) region.map({ offset: 2 * i * PAGE, length: PAGE })
    const view = region.attach()
    const { address, size } = view
    // One mapping each on shm, for each has page tables of its own; one of all of them on msharefs.
    if (region.info().sharedPageTables) expect(lines(address, size)).toHaveLength(1)
    else expect(lines(address, size).length).toBeGreaterThan(4)
    view.detach()
    expect(lines(address, size)).toEqual([])
    expect(region.mappings()).toHaveLength(4)
  })
})

describe('rule 12: out of memory is an error before it is a signal', () => {
  test('map answers ENOSPC with the numbers, and nothing has changed; reserve: false opts out', () => {
    using region = Region.unnamed({ size: '4TiB' })
    const error = thrown('ENOSPC', () => region.map({ length: '2TiB' }))
    expect(error.message).toMatch(/\d{6}/)
    expect(region.info()).toMatchObject({ mapped: 0, resident: 0 })
    region.map({ length: '2TiB', reserve: false })
    expect(region.info()).toMatchObject({ mapped: 2 * 1024 * GiB, resident: 0 })
    expect(region.mappings()[0]).toMatchObject({ reserve: false })
  })

  test('populate maps memory that is there at once', () => {
    using region = Region.unnamed({ size: '1GiB' })
    region.map({ length: '1MiB', populate: true })
    expect(region.info().resident).toBe(2 ** 20)
  })
})

describe('rule 13: shared memory inside behaves as shared memory does', () => {
  test('atomics are exact between processes, threads and C', async () => {
    const name = newName()
    using region = Region.create(name, { size: '1GiB' })
    region.map({ length: PAGE })
    using view = region.attach()
    const cells = view.array(Int32Array)
    const c = new Native()
    await c.ask('open', name, 2)
    await c.ask('attach', 3)
    const add = ({ Region }: Context, name: string, n: number) => {
      const cells = Region.open(name).attach().array(Int32Array)
      for (let i = 0; i < n; i++) Atomics.add(cells, 0, 1)
    }
    const peer = new Peer()
    const thread = new Thread()
    const N = 200_000
    const others = [c.ask('add', 0, N), peer.run(add, name, N), thread.run(add, name, N)]
    for (let i = 0; i < N; i++) Atomics.add(cells, 0, 1)
    await Promise.all(others)
    expect(cells[0]).toBe(4 * N)
    Region.unlink(name)
  })

  test('the kernel reads from it and writes into it', () => {
    using region = Region.unnamed({ size: '1GiB' })
    region.map({ length: PAGE })
    using view = region.attach()
    const bytes = view.buffer()
    bytes.write('by way of a file')
    const directory = mkdtempSync(join(tmpdir(), 'mshare-'))
    const file = openSync(join(directory, 'file'), 'w+')
    expect(writeSync(file, bytes, 0, 16, 0)).toBe(16)
    expect(readSync(file, bytes, 100, 16, 0)).toBe(16)
    expect(bytes.toString('latin1', 100, 116)).toBe('by way of a file')
    closeSync(file)
    rmSync(directory, { recursive: true })
  })
})

describe('rule 14: never silent', () => {
  test('every handle says its back end and whether page tables are shared', () => {
    using region = Region.unnamed({ size: '1GiB' })
    const { backend, sharedPageTables } = region.info()
    expect(['shm', 'msharefs']).toContain(backend)
    expect(sharedPageTables).toBe(backend === 'msharefs')
    expect(Region.probe()).toMatchObject({ available: true, backend, root: root.path })
  })

  test('require is met, or EOPNOTSUPP with the reason and nothing made', () => {
    const require = 'shared-page-tables'
    using region = Region.create('plain', { size: '1GiB' })
    if (region.info().sharedPageTables) {
      Region.create('shared', { size: '1GiB', require }).attach({ require }).detach()
      Region.unlink('shared')
    } else {
      const asks = [
        () => Region.create('shared', { size: '1GiB', require }),
        () => Region.openOrCreate('shared', { size: '1GiB', require }),
        () => Region.unnamed({ size: '1GiB', require }),
        () => Region.open('plain', { require }),
        () => Region.fromFd(region.fd, { require }),
        () => region.attach({ require }),
      ]
      for (const ask of asks) expect(thrown('EOPNOTSUPP', ask).message).toMatch(/page tables/)
      expect(Region.list()).toEqual(['plain'])
      expect(region.info().attachments).toBe(0)
    }
    Region.unlink('plain')
  })
})
