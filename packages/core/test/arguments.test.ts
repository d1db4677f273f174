// SPDX-License-Identifier: MIT
import { inspect } from 'node:util'
import { MshareError, Region } from '@mshare/core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { toBytes } from '../src/arguments.js'
import { PAGE, rejected, thrown, useRoot } from './util.js'

useRoot()

let region: Region
beforeAll(() => {
  region = Region.create('region', { size: '1GiB' })
  region.map({ length: PAGE })
})
afterAll(() => {
  expect(region.mappings()).toHaveLength(1)
  expect(Region.list()).toEqual(['region'])
  region.close()
  Region.unlink('region')
})

test.each(
  [
    [0, 0],
    [4096n, 4096],
    ['4096', 4096],
    ['4096B', 4096],
    ['1KiB', 1024],
    ['64 MiB', 67108864],
    ['1.5GiB', 1610612736],
    ['0.5KiB', 512],
    ['2TiB', 2 ** 41],
    [2 ** 53 - 1, 2 ** 53 - 1],
  ].map(([size, bytes]) => [inspect(size), bytes, size]),
)('a size of %s is %d bytes', (_, bytes, size) => {
  expect(toBytes(size as never, 'size')).toBe(bytes)
})

describe.each<[string, ErrorConstructor, unknown[]]>([
  ['ERR_OUT_OF_RANGE', RangeError, [-1, -1n, 1.5, Number.NaN, Infinity, -Infinity, 2 ** 53]],
  ['ERR_OUT_OF_RANGE', RangeError, [2n ** 64n, 2n ** 53n, '1.3B', '0.1KiB', '99999999TiB']],
  [
    'ERR_INVALID_ARG_VALUE',
    TypeError,
    ['', 'x', '1GB', '-1', '1e3', 'MiB', '1MiB1', '0x10', '1.MiB'],
  ],
  ['ERR_INVALID_ARG_TYPE', TypeError, [null, true, {}, [], () => 1, Symbol('s')]],
])('%s for', (code, type, values) => {
  test.each(values.map((value) => [inspect(value), value]))(
    '%s as a size, an offset or a length',
    (_, value) => {
      const bad = value as never
      for (const work of [
        () => Region.create('bad', { size: bad }),
        () => Region.openOrCreate('bad', { size: bad }),
        () => Region.unnamed({ size: bad }),
        () => Region.unnamed({ size: '1GiB', base: bad }),
        () => region.reserve({ size: bad }),
        () => region.map({ length: bad }),
        () => region.map({ length: PAGE, offset: bad }),
        () => region.map({ length: PAGE, backing: { fd: 0, offset: bad } }),
        () => region.unmap({ length: bad }),
        () => region.unmap({ length: PAGE, offset: bad }),
        () => region.protect({ length: bad, prot: 'r' }),
        () => region.advise({ length: bad, advice: 'remove' }),
      ]) {
        expect(thrown(code, work)).toBeInstanceOf(type)
      }
    },
  )
})

test('a length has to be given', () => {
  thrown('ERR_INVALID_ARG_TYPE', () => region.map({} as never))
  expect(
    thrown('ERR_INVALID_ARG_VALUE', () => region.map({ length: '1GB' as never })).message,
  ).toContain('B, KiB, MiB, GiB, TiB')
  thrown('ERR_INVALID_ARG_TYPE', () => region.unmap({} as never))
  thrown('ERR_INVALID_ARG_TYPE', () => region.protect({ prot: 'r' } as never))
  thrown('ERR_INVALID_ARG_TYPE', () => region.reserve({} as never))
})

test.each([null, 1, 'x', true])('options are an object, not %j', (options) => {
  const bad = options as never
  for (const work of [
    () => Region.create('bad', bad),
    () => Region.open('region', bad),
    () => Region.openOrCreate('bad', bad),
    () => Region.unnamed(bad),
    () => Region.fromFd(region.fd, bad),
    () => region.reserve(bad),
    () => region.map(bad),
    () => region.unmap(bad),
    () => region.protect(bad),
    () => region.advise(bad),
    () => region.attach(bad),
  ]) {
    thrown('ERR_INVALID_ARG_TYPE', work)
  }
})

test.each(['', 'w', 'rwxr', 'RW', 'x', 'read', 'constructor', '__proto__', 3, null])(
  'prot %j is not one',
  (prot) => {
    const bad = prot as never
    for (const work of [
      () => region.map({ length: PAGE, prot: bad }),
      () => region.protect({ length: PAGE, prot: bad }),
      () => region.attach({ prot: bad }),
      () => region.reopen(bad),
      () => Region.open('region', { access: bad }),
      () => Region.fromFd(region.fd, { access: bad }),
      () => region.advise({ length: PAGE, advice: bad }),
      () => region.attach({ require: bad }),
      () => Region.unnamed({ require: bad }),
    ]) {
      expect(thrown('ERR_INVALID_ARG_VALUE', work)).toBeInstanceOf(TypeError)
    }
  },
)

test('attach takes the protection of an access only', () => {
  thrown('ERR_INVALID_ARG_VALUE', () => region.attach({ prot: 'none' as never }))
  thrown('ERR_INVALID_ARG_VALUE', () => region.attach({ prot: 'rwx' as never }))
  thrown('ERR_INVALID_ARG_TYPE', () => region.attach({ address: 4096 as never }))
  thrown('ERR_OUT_OF_RANGE', () => region.attach({ address: -1n }))
  thrown('ERR_OUT_OF_RANGE', () => region.attach({ address: 2n ** 64n }))
})

test('flags are booleans', () => {
  const bad = 1 as never
  thrown('ERR_INVALID_ARG_TYPE', () => region.map({ length: PAGE, reserve: bad }))
  thrown('ERR_INVALID_ARG_TYPE', () => region.map({ length: PAGE, populate: bad }))
  thrown('ERR_INVALID_ARG_TYPE', () => region.map({ length: PAGE, hugetlb: bad }))
  thrown('ERR_INVALID_ARG_TYPE', () => region.unmap({ length: PAGE, force: bad }))
  thrown('ERR_INVALID_ARG_TYPE', () => region.attach({ anywhere: bad }))
})

test.each([-1, 0o1000, 1.5, Number.NaN, 2 ** 32])('mode %d is not one', (mode) => {
  thrown('ERR_OUT_OF_RANGE', () => Region.create('bad', { size: '1GiB', mode }))
  thrown('ERR_OUT_OF_RANGE', () => Region.unnamed({ mode }))
  thrown('ERR_OUT_OF_RANGE', () => Region.mkdir('bad', mode))
})

test.each([-1, 1.5, 2 ** 31, Number.NaN])('descriptor or time %d is not one', (n) => {
  thrown('ERR_OUT_OF_RANGE', () => Region.fromFd(n))
  thrown('ERR_OUT_OF_RANGE', () => Region.setTimeout(n))
  thrown('ERR_OUT_OF_RANGE', () => region.map({ length: PAGE, backing: { fd: n } }))
})

test.each([[undefined], [null], [1], [{}], [Buffer.from('name')]])(
  'name %s is not a string',
  (name) => {
    const bad = name as never
    for (const work of [
      () => Region.create(bad, { size: '1GiB' }),
      () => Region.open(bad),
      () => Region.openOrCreate(bad, { size: '1GiB' }),
      () => Region.unlink(bad),
      () => Region.mkdir(bad),
      () => Region.rmdir(bad),
    ]) {
      thrown('ERR_INVALID_ARG_TYPE', work)
    }
    if (bad !== undefined) thrown('ERR_INVALID_ARG_TYPE', () => Region.list(bad))
  },
)

test('a name with a NUL is EINVAL, and does not end there', () => {
  for (const work of [
    () => Region.create('region\0x', { size: '1GiB' }),
    () => Region.open('region\0x'),
    () => Region.openOrCreate('region\0x', { size: '1GiB' }),
    () => Region.unlink('region\0x'),
    () => Region.mkdir('region\0x'),
    () => Region.rmdir('region\0x'),
    () => Region.list('region\0x'),
  ]) {
    expect(thrown('EINVAL', work)).toBeInstanceOf(MshareError)
  }
})

test('the Async twins reject with what the others throw', async () => {
  await rejected('ERR_INVALID_ARG_TYPE', Region.createAsync(1 as never, { size: '1GiB' }))
  await rejected('ERR_OUT_OF_RANGE', Region.unnamedAsync({ size: -1 }))
  await rejected('ERR_INVALID_ARG_VALUE', region.mapAsync({ length: PAGE, prot: 'x' as never }))
  await rejected('EINVAL', Region.openAsync('a\0b'))
})
