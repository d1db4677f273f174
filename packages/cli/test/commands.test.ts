// SPDX-License-Identifier: MIT
//
// The commands on whichever back end the environment names.

import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { Region } from '@mshare/core'
import { afterEach, describe, expect, test } from 'vitest'
import {
  attacher,
  type Ended,
  GiB,
  inMounts,
  json,
  mshare,
  mshareProcess,
  NOBODY,
  noMounts,
  ON_MSHAREFS,
  parsed,
  useRoot,
} from './util.js'

const root = useRoot()
const BACKEND = ON_MSHAREFS ? 'msharefs' : 'shm'

afterEach(() => {
  for (const name of readdirSync(root.path)) {
    if (name === 'mshare_info') continue
    rmSync(`${root.path}/${name}`, { recursive: true })
  }
})

/** A view, with a page in it that has been written to. */
const TOUCHING = '((view) => (view.buffer(0, 4096).fill(1), view))(region.attach())'

/** Made, with that much mapped at its beginning. */
function make(name: string, length = 0): void {
  using region = Region.create(name, { size: '1GiB' })
  if (length > 0) region.map({ length })
}

/** An operation has failed: status 1, nothing on stdout, one line with errno's name and a remedy. */
function failed({ status, out, err }: Ended, code: string, remedy: RegExp | string): void {
  expect(err).toMatch(new RegExp(`^mshare [a-z]+: ${code}: .+\\. .+\\.\n$`))
  expect(err.slice(err.indexOf(code))).toMatch(remedy)
  expect(out).toBe('')
  expect(status).toBe(1)
}

describe('create', () => {
  test('makes a region with a window and contents', async () => {
    const { status, out, err } = await mshare('create', 'a', '--size', '2GiB', '--map', '64K')
    expect({ status, err }).toEqual({ status: 0, err: '' })
    expect(out).toMatch(new RegExp(`^a: 2 GiB at 0x[0-9a-f]+, on ${BACKEND}, 64 KiB mapped\n$`))
    using region = Region.open('a')
    expect(region.info()).toMatchObject({ window: 2 * GiB, mapped: 65536 })
    expect(region.mappings()).toMatchObject([{ offset: 0, prot: 'rw' }])
  })

  test('takes a base, a mode and a protection', async () => {
    const result = await json(
      ...['create', 'a', '-s', '1G', '--base', '0x600000000000', '-m', '640', '--map', '4K'],
      ...['--prot', 'r'],
    )
    expect(result).toEqual({
      ...{ name: 'a', backend: BACKEND, window: GiB, base: '0x600000000000', mapped: 4096 },
    })
    expect(statSync(`${root.path}/a`).mode & 0o777).toBe(0o640 & ~process.umask())
    using region = Region.open('a')
    expect(region.mappings()).toMatchObject([{ prot: 'r' }])
  })

  test('what cannot be made whole is not there', async () => {
    make('a')
    failed(await mshare('create', 'a', '--size', '1GiB'), 'EEXIST', 'mshare rm')
    failed(await mshare('create', 'b', '--size', '1MiB'), 'EINVAL', 'multiples of 1GiB')
    failed(await mshare('create', 'b', '-s', '1GiB', '--map', '5'), 'EINVAL', 'page size')
    failed(await mshare('create', 'b/c', '-s', '1GiB'), 'ENOENT', 'mshare mkdir')
    failed(await mshare('create', '../b', '-s', '1GiB'), 'EINVAL', 'names')
    expect(Region.list()).toEqual(['a'])
    const required = await mshare('create', 'b', '-s', '1GiB', '--require-shared-page-tables')
    if (ON_MSHAREFS) expect(required.status).toBe(0)
    else failed(required, 'EOPNOTSUPP', 'mshare doctor')
  })
})

describe('map, unmap, protect, maps', () => {
  test('change what is there, and show it', async () => {
    make('a')
    const { base } = await json<{ base: string }>('info', 'a')
    const at = (offset: number) => (BigInt(base) + BigInt(offset)).toString(16)
    expect(await json('map', 'a', '64KiB')).toMatchObject({ offset: 0, address: base, prot: 'rw' })
    const { out } = await mshare(
      'map',
      'a',
      '8192',
      '--offset',
      '1MiB',
      '--prot',
      'rx',
      '--no-reserve',
    )
    expect(out).toBe(`a: mapped 8 KiB rx at offset 0x100000, address 0x${at(0x100000)}\n`)
    expect((await mshare('protect', 'a', '0', '4096', 'none')).out).toBe(
      'a: 4 KiB from offset 0x0 on are none now\n',
    )
    expect((await mshare('unmap', 'a', '0xf000', '4K')).out).toBe(
      'a: unmapped 4 KiB from offset 0xf000 on\n',
    )
    expect((await mshare('maps', 'a')).out).toBe(
      [
        `${at(0)}-${at(0x1000)} ---s 00000000    4 KiB`,
        `${at(0x1000)}-${at(0xf000)} rw-s 00001000   56 KiB`,
        `${at(0x100000)}-${at(0x102000)} r-xs 00100000    8 KiB noreserve`,
        '',
      ].join('\n'),
    )
    expect(await json('maps', 'a')).toMatchObject({
      ...{ name: 'a', window: GiB, base },
      mappings: [
        { offset: 0, length: 4096, prot: 'none', reserve: true, hugetlb: false },
        { offset: 4096, length: 57344, prot: 'rw', reserve: true },
        { offset: 0x100000, length: 8192, prot: 'rx', reserve: false },
      ],
    })
    expect(await json('unmap', 'a', '0', '1GiB')).toEqual({ name: 'a', offset: 0, length: GiB })
    expect(await mshare('maps', 'a')).toEqual({ status: 0, out: '', err: '' })
    await json('map', 'a', '4K', '--populate')
    expect(await json('protect', 'a', '0', '4K', 'r')).toMatchObject({ prot: 'r' })
  })

  test('what the region does not allow', async () => {
    make('a', 4096)
    failed(await mshare('map', 'a', '4K', '--offset', '0'), 'EEXIST', '--offset')
    failed(await mshare('map', 'a', '1G'), 'ENOMEM', 'mshare maps')
    failed(await mshare('map', 'a', '1'), 'EINVAL', 'mshare')
    failed(await mshare('protect', 'a', '0', '8192', 'r'), 'ENOMEM', 'holes')
    failed(await mshare('unmap', 'a', '0', '2GiB'), 'EINVAL', 'mshare info')
    failed(await mshare('map', 'nothing', '4K'), 'ENOENT', 'mshare ls')
    failed(await mshare('map', 'a', '4K', '--hugetlb'), 'EOPNOTSUPP', 'mshare info')
  })

  test('a file is mapped where the back end can', async () => {
    make('a')
    writeFileSync(`/dev/shm/mshare-cli-${process.pid}`, 'x'.repeat(8192))
    try {
      const file = ['--file', `/dev/shm/mshare-cli-${process.pid}`, '--file-offset', '4096']
      const result = await mshare('map', 'a', '4096', '--prot', 'r', ...file)
      if (!ON_MSHAREFS) return failed(result, 'EOPNOTSUPP', 'mshare info')
      expect(result.status).toBe(0)
      using region = Region.open('a', { access: 'r' })
      using view = region.attach()
      expect(view.buffer(0, 4096).toString()).toBe('x'.repeat(4096))
    } finally {
      rmSync(`/dev/shm/mshare-cli-${process.pid}`)
    }
    failed(await mshare('map', 'a', '4096', '--file', '/nothing'), 'ENOENT', 'mshare')
  })

  test('a region without a window', async () => {
    Region.create('born', {}).close()
    failed(await mshare('map', 'born', '4K'), 'ENODATA', 'mshare gc')
    failed(await mshare('maps', 'born'), 'ENODATA', 'mshare gc')
    const { out } = await mshare('info', 'born')
    expect(out).toMatch(/^window +none yet$/m)
  })
})

describe('ls and info', () => {
  test('an empty root', async () => {
    expect(await json('ls')).toEqual({ root: root.path, backend: BACKEND, regions: [] })
    expect(await mshare('ls')).toEqual({ status: 0, out: '', err: '' })
  })

  test('regions, and what is none', async () => {
    Region.mkdir('d')
    make('d/two', 65536)
    make('one', 4096)
    Region.create('born', {}).close()
    const all = await json('ls')
    expect(all).toMatchObject({
      regions: [
        { name: 'born', state: 'no-window', window: 0, base: '0x0' },
        { name: 'd/two', state: 'ready', window: GiB, mapped: 65536, mappings: 1, attachments: 0 },
        { name: 'one', state: 'ready', mapped: 4096, generation: 1, unsharedPageTableBytes: 0 },
      ],
    })
    expect((await mshare('ls')).out).toMatch(
      /^ *WINDOW +MAPPED +RESIDENT +ATTACHED +NAME\n +- +- +- +- +born {2}\(no window yet\)\n +1 GiB +64 KiB +\S.* 0 +d\/two\n +1 GiB +4 KiB .* 0 +one\n$/,
    )
    expect(await json('ls', 'd')).toMatchObject({ regions: [{ name: 'd/two' }] })
    const nowhere = await mshare('ls', 'nowhere')
    failed(nowhere, 'ENOENT', 'mshare ls')
    expect(nowhere.err).toMatch(
      /ENOENT: list: 'nowhere' cannot be listed: no such file or directory\. W/,
    )
  })

  test('names cannot speak to the terminal', async () => {
    const name = 'a\x1b[31m\u202e\u0085b\nc'
    make(name)
    const { out } = await mshare('ls')
    expect(out).toContain('a\\u{1b}[31m\\u{202e}\\u{85}b\\u{a}c')
    const text = (await mshare('ls', '--json')).out
    expect(['\x1b', '\x85', '\u202e'].filter((c) => text.includes(c))).toEqual([])
    expect(parsed('ls', text)).toMatchObject({ regions: [{ name }] })
    const gone = await mshare('info', 'no\x1b[2J')
    expect(gone.err).toContain('no\\u{1b}[2J')
    expect(gone.err).not.toContain('\x1b')
    const bad = await mshare('maps', name, 'too\x1bmany')
    expect(bad.err).not.toContain('\x1b')
    expect((await mshare('top')).out).not.toContain('\x1b')
    expect((await mshare('info', name)).out).not.toContain('\x1b')
    expect((await mshare('gc', '--orphans', '--dry-run')).out).not.toContain('\x1b')
    expect((await mshare('__complete', '--', 'info', '')).out).toBe('')
  })

  test('who has it attached, and who has it open', async () => {
    make('a', 65536)
    const one = await attacher('a', TOUCHING)
    const two = await attacher('a', 'undefined')
    const info = await json('info', 'a')
    expect(info).toMatchObject({ name: 'a', attachments: 1, mode: '0600', backend: BACKEND })
    const { base } = info
    expect(info['processes']).toHaveLength(2)
    expect(info['processes']).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ pid: one.pid, attached: [base], uid: process.getuid?.() }),
        expect.objectContaining({ pid: two.pid, attached: [], descriptors: 1 }),
      ]),
    )
    // It has a page in one table, below one directory. The shared ones have two levels more.
    expect(info).toMatchObject({
      pageTableBytes: ON_MSHAREFS ? 16384 : null,
      unsharedPageTableBytes: 8192,
    })
    const { out } = await mshare('info', 'a')
    expect(out).toMatch(/^attachments +1$/m)
    expect(out).toMatch(new RegExp(`^ *${one.pid} +\\d+ +\\d+ +${base} +\\S`, 'm'))
    expect(out).toMatch(new RegExp(`^ *${two.pid} +\\d+ +1 +- +\\S`, 'm'))
    expect(await json('ls')).toMatchObject({ regions: [{ attachments: 1 }] })
  })

  test('no such region, and what is none', async () => {
    failed(await mshare('info', 'nothing'), 'ENOENT', 'mshare create')
    mkdirSync(`${root.path}/d`)
    failed(await mshare('info', 'd'), 'EISDIR', 'mshare ls')
    rmdirSync(`${root.path}/d`)
    // msharefs has no links.
    if (ON_MSHAREFS) return
    symlinkSync('/etc/passwd', `${root.path}/link`)
    failed(await mshare('info', 'link'), 'ELOOP', 'links')
    expect(await json('ls', '--all')).toMatchObject({ regions: [] })
  })
})

describe('rm and mkdir', () => {
  test('names come and go', async () => {
    expect(await json('mkdir', 'd', 'e')).toEqual({ made: ['d', 'e'] })
    expect((await mshare('mkdir', '-p', 'd/f/g', '-m', '750')).status).toBe(0)
    expect(statSync(`${root.path}/d/f/g`).mode & 0o777).toBe(0o750 & ~process.umask())
    make('d/f/g/x')
    failed(await mshare('mkdir', 'd'), 'EEXIST', '-p')
    failed(await mshare('mkdir', 'h/i'), 'ENOENT', '-p')
    failed(await mshare('mkdir', '-p', 'd/f/g/x'), 'ENOTDIR', 'mshare')
    failed(await mshare('rm', 'd'), 'EISDIR', '--dir')
    failed(await mshare('rm', '--dir', 'd'), 'ENOTEMPTY', 'mshare ls')
    failed(await mshare('rm', '--dir', 'd/f/g/x'), 'ENOTDIR', 'mshare rm')
    expect(await json('rm', 'd/f/g/x')).toEqual({ removed: ['d/f/g/x'] })
    expect((await mshare('rm', '-d', 'd/f/g', 'd/f', 'd', 'e')).status).toBe(0)
    expect(readdirSync(root.path).filter((name) => name !== 'mshare_info')).toEqual([])
  })

  test('each of several, whatever becomes of the others', async () => {
    make('a')
    make('b')
    failed(await mshare('rm', 'a', 'nothing', 'b'), 'ENOENT', 'mshare ls')
    expect(Region.list()).toEqual([])
    make('a')
    const { status, out, err } = await mshare('rm', 'a', 'nothing', '--json')
    expect(status).toBe(1)
    expect(parsed('rm', out)).toEqual({ removed: ['a'] })
    expect(parsed('error', err)).toMatchObject({ error: { command: 'rm', code: 'ENOENT' } })
    expect(await mshare('rm', '--force', 'nothing')).toEqual({ status: 0, out: '', err: '' })
  })
})

describe('top', () => {
  test('where there is no terminal: one picture, without a control character', async () => {
    make('a', 65536)
    make('b', 8192)
    await attacher('a')
    const { status, out } = await mshare('top')
    expect(status).toBe(0)
    const lines = out.split('\n')
    expect(lines[0]).toMatch(/^2 regions, 1 attachment, .* resident, in /)
    expect(lines[1]).toMatch(/^page tables .*; unshared at most /)
    expect(lines[3]).toMatch(/^ATTACHED +MAPPED +RESIDENT +TABLES +UNSHARED +NAME$/)
    expect(lines[4]).toMatch(/^ +1 +64 KiB .* a$/)
    expect(lines[5]).toMatch(/^ +0 +8 KiB .* b$/)
    expect(out).not.toMatch(/[^\n -~]/)
  })

  test('as JSON, as often as one says', async () => {
    make('a', 65536)
    await attacher('a')
    await attacher('a')
    const { out } = await mshare('top', '--json', '--count', '2', '--interval', '0.1')
    const frames = out
      .split('\n')
      .slice(0, -1)
      .map((line) => parsed('top', `${line}\n`))
    expect(frames).toHaveLength(2)
    for (const frame of frames) {
      expect(frame).toMatchObject({
        ...{ root: root.path, backend: BACKEND },
        totals: { regions: 1, attachments: 2 },
        regions: [{ name: 'a', attachments: 2, mapped: 65536 }],
      })
      if (!ON_MSHAREFS) {
        // A table and a directory for each of them.
        expect(frame['totals']).toMatchObject({
          pageTableBytes: 16384,
          unsharedPageTableBytes: 16384,
        })
      }
    }
  })

  test('sorts', async () => {
    make('a', 4096)
    make('b', 65536)
    make('c')
    await attacher('c')
    const names = async (key: string) =>
      (await json<{ regions: { name: string }[] }>('top', '--sort', key)).regions.map((r) => r.name)
    expect(await names('name')).toEqual(['a', 'b', 'c'])
    expect((await names('attachments'))[0]).toBe('c')
    if (!ON_MSHAREFS) expect(await names('resident')).toEqual(['b', 'a', 'c'])
  })
})

describe('gc', () => {
  const items = async (...options: string[]) =>
    (await json<{ items: object[] }>('gc', ...options)).items

  test('orphans go when one says so, and what is in use stays', async () => {
    make('free')
    make('open')
    make('attached', 4096)
    await attacher('attached')
    await attacher('open', 'undefined')
    expect(await items()).toEqual([
      { name: 'free', reason: 'orphaned', outcome: 'kept', why: 'without --orphans' },
    ])
    expect(await items('--orphans', '--dry-run')).toMatchObject([
      { name: 'free', outcome: 'would-remove' },
    ])
    expect(Region.list()).toEqual(['attached', 'free', 'open'])
    const { out } = await mshare('gc', '--orphans')
    expect(out).toMatch(/^removed {2}orphaned {2}free\n/)
    expect(Region.list()).toEqual(['attached', 'open'])
  })

  test('what was never finished goes, if it is ours for certain', async () => {
    Region.create('born', {}).close()
    const [item] = await items()
    if (ON_MSHAREFS) {
      expect(item).toMatchObject({ name: 'born', reason: 'unfinished', outcome: 'removed' })
      expect(Region.list()).toEqual([])
    } else {
      // In a root that somebody has set, an empty file may be anything.
      const kept = { name: 'born', reason: 'unfinished', outcome: 'kept' }
      expect(item).toMatchObject({ ...kept, why: expect.stringMatching(/^an empty file,.* rm it/) })
      expect(Region.list()).toEqual(['born'])
    }
  })

  test.skipIf(ON_MSHAREFS)('shm: what is damaged goes, what has no magic stays', async () => {
    make('cut', 4096)
    truncateSync(`${root.path}/cut`, 2 * GiB - 4096)
    writeFileSync(`${root.path}/notes`, 'not a region')
    chmodSync(`${root.path}/notes`, 0o600)
    expect(await items()).toEqual([{ name: 'cut', reason: 'damaged', outcome: 'removed' }])
    expect(existsSync(`${root.path}/notes`)).toBe(true)
    expect(await json('ls')).toMatchObject({ regions: [] })
    expect(await json('ls', '-a')).toMatchObject({
      regions: [{ name: 'notes', state: 'no-region' }],
    })
    failed(await mshare('info', 'notes'), 'EINVAL', 'mshare')
  })

  test.skipIf(ON_MSHAREFS)('shm: what is damaged and attached stays', async () => {
    make('cut', 4096)
    await attacher('cut')
    truncateSync(`${root.path}/cut`, 2 * GiB - 4096)
    expect(await items()).toMatchObject([{ name: 'cut', reason: 'damaged', outcome: 'kept' }])
    expect(await json('ls')).toMatchObject({ regions: [{ name: 'cut', state: 'damaged' }] })
    failed(await mshare('info', 'cut'), 'EUCLEAN', 'mshare rm')
  })
})

describe('a root that cannot be', () => {
  test('is what the remedy is about, not the command', async () => {
    const inRoot = async (path: string, ...words: string[]) => {
      Object.assign(process.env, { MSHARE_ROOT: path })
      const ended = await mshare(...words)
      Object.assign(process.env, { MSHARE_ROOT: root.path })
      return ended
    }
    const nothing = `${root.path}/nothing`
    for (const words of [['ls'], ['ls', 'd'], ['create', 'a', '--size', '1GiB'], ['info', 'a']]) {
      failed(await inRoot(nothing, ...words), 'ENOENT', /\. Make the directory that MSHARE_ROOT/)
      failed(
        await inRoot('/usr', ...words),
        'EOPNOTSUPP',
        /\. mshare doctor looks at the root\.\n$/,
      )
    }
  })

  test('for this user', (context) => {
    noMounts(context)
    const by = [...inMounts(''), ...NOBODY]
    for (const words of [
      ['create', 'a', '--size', '1GiB'],
      ['mkdir', 'd'],
    ]) {
      const denied = mshareProcess(words, { by, env: { MSHARE_ROOT: root.path } })
      failed(denied, 'EACCES', 'mshare doctor looks at the root')
    }
  })
})

test('standard output that cannot be written: one line, status 1', () => {
  const by = ['sh', '-c', 'exec "$@" > /dev/full', 'sh']
  for (const words of [['--version'], ['completion', 'bash']]) {
    const ended = mshareProcess(words, { by, env: { MSHARE_ROOT: root.path } })
    expect(ended.err).toMatch(/^mshare[^\n]*: ENOSPC: standard output [^\n]*\n$/)
    expect(ended.status).toBe(1)
  }
  const { status, err } = mshareProcess(['ls', '--json'], { by, env: { MSHARE_ROOT: root.path } })
  expect(parsed('error', err)).toMatchObject({ error: { command: 'ls', code: 'ENOSPC' } })
  expect(status).toBe(1)
})

test('a process of its own says the same', () => {
  make('a', 4096)
  const env = { MSHARE_ROOT: root.path }
  const { status, out, err } = mshareProcess(['ls'], { env })
  expect({ status, err }).toEqual({ status: 0, err: '' })
  expect(out).toMatch(/ a\n$/)
})
