// SPDX-License-Identifier: MIT

import { Region } from '@mshare/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { dumps, type Library, makeLibrary, NAME, numbers, random, tool } from './library.js'
import { LANGUAGES, output, ownRoot, Process, run } from './util.js'

describe('shared-index, damaged', () => {
  ownRoot()
  let library: Library
  beforeAll(() => {
    library = makeLibrary(250, 600)
  })
  afterAll(() => library[Symbol.dispose]())

  for (const language of LANGUAGES) {
    it(`in ${language}: writers killed midway leave a whole index to the others`, async () => {
      await output(tool(language, 'create', NAME, library.directory))
      // Killed halfway through a file, and between taking a chunk and mapping it.
      const doomed = [
        ['--die-in-file', '1', 'write', NAME],
        ['--die-in-file', '7', 'write', NAME],
        ['--die-in-chunk', '1', 'write', NAME],
        ['--die-in-chunk', '2', 'write', NAME],
      ].map((args) => run(tool(language, ...args)))
      for (const { how } of await Promise.all(doomed)) expect(how).toBe('SIGKILL')
      await Promise.all(LANGUAGES.map((other) => output(tool(other, 'write', NAME))))
      expect(await dumps()).toEqual(library.dump)
      await output(tool(language, 'rm', NAME))
    })

    it(`in ${language}: a writer killed from outside at any moment leaves a whole index`, async () => {
      await output(tool(language, 'create', NAME, library.directory))
      const reader = new Process(tool(language, 'ask', NAME))
      const victim = new Process(tool(language, 'write', NAME))
      const others = LANGUAGES.map((other) => output(tool(other, 'write', NAME)))
      // They are at work once there is something.
      while (numbers(await reader.ask('*'))[0] === 0);
      victim.kill('SIGKILL')
      await victim.ended
      await Promise.all(others)
      expect(await dumps()).toEqual(library.dump)
      reader.end()
      await output(tool(language, 'rm', NAME))
    })

    it(`in ${language}: an index that outgrows its window is refused, and stays readable`, async () => {
      await output(tool('C', '--window', '1', 'create', NAME, library.directory))
      {
        using region = Region.open(NAME)
        using attachment = region.attach()
        const header = attachment.array(BigUint64Array, { offset: 0, length: 6 })
        Atomics.store(header, 2, 1022n) // chunks: as if all but two were taken
      }
      const { how, errors } = await run(tool(language, 'write', NAME))
      expect(how).toBe(1)
      expect(errors).toBe('shared-index: the index is full: its window has 1024 MiB\n')
      expect(numbers(await output(tool(language, 'ask', NAME, '*')))[0]).toBeGreaterThan(0)
      await output(tool(language, 'rm', NAME))
    })
  }

  it('an index that lies is an error in both languages, never a crash or a circle', async () => {
    const small = makeLibrary(30, 60)
    try {
      await output(tool('C', '--window', '1', 'create', NAME, small.directory))
    } finally {
      await output(tool('C', 'write', NAME))
      small[Symbol.dispose]()
    }
    using region = Region.open(NAME)
    using attachment = region.attach()
    const mapped = Number(region.info().mapped)
    const cells = attachment.array(BigUint64Array, { offset: 0, length: mapped / 8 })
    const whole = cells.slice()
    const window = Number(region.info().window)
    const base = attachment.address
    const used = whole.findLastIndex((cell) => cell !== 0n)
    const next = random(4711)
    const outcomes = new Set<string>()

    const lie = async (change: () => void) => {
      change()
      const tries = LANGUAGES.flatMap((language) =>
        [['dump'], ['ask', 'map*', '*'], ['status']].map(async ([what, ...queries]) => {
          const { how, errors } = await run(tool(language, what as string, NAME, ...queries))
          expect([0, 1], `${language} ${what}: ${how} ${errors}`).toContain(how)
          if (how === 1) expect(errors).toMatch(/^shared-index: (the index is corrupt|region ")/)
          outcomes.add(`${what} ${how}`)
        }),
      )
      await Promise.all(tries)
      cells.set(whole)
    }
    // Some that are sure to hurt: no magic, a root that points to itself, outside, into a hole.
    await lie(() => cells.fill(0n, 0, 1))
    await lie(() => cells.fill(base + 24n, 3, 4))
    await lie(() => cells.fill(0xdead_beef_dead_beefn, 3, 4))
    await lie(() => cells.fill(base + BigInt(window - 8), 3, 4))
    await lie(() => cells.fill(base + BigInt(mapped), 4, 5))
    // And some that may: pointers to anywhere in the window, to other objects, noise.
    for (let round = 0; round < 3; round++) {
      await lie(() => {
        for (let i = 0; i < 200; i++) {
          const at = 6 + next(used - 6)
          const to = [
            base + BigInt(next(window)),
            base + BigInt(next(used) * 8),
            BigInt(next(2 ** 32)) << BigInt(next(32)),
            whole[next(used)] as bigint,
          ]
          cells[at] = to[next(to.length)] as bigint
        }
      })
    }
    expect(outcomes).toContain('dump 1')
    expect(outcomes).toContain('status 1')
    await output(tool('C', 'rm', NAME))
  })
})
