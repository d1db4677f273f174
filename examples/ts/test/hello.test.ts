// SPDX-License-Identifier: MIT

import { describe, expect, it } from 'vitest'
import { command, LANGUAGES, output, ownRoot, run } from './util.js'

describe('hello', () => {
  ownRoot()

  for (const first of LANGUAGES) {
    for (const second of LANGUAGES) {
      it(`in ${second} follows the pointer that the one in ${first} stored`, async () => {
        const one = await output([...command(first, 'hello'), 'greetings'])
        const other = await output([...command(second, 'hello'), 'greetings'])
        const base = /^process \d+ made region "greetings": a window of 1 GiB at (0x\w+)$/m.exec(
          one,
        )
        expect(base?.[1]).toBeDefined()
        expect(other).toMatch(
          new RegExp(
            `^process \\d+ found region "greetings": a window of 1 GiB at ${base?.[1]}$`,
            'm',
          ),
        )
        const left = /^left (a note at 0x\w+: "hello from process (\d+), in \w+")$/m.exec(one)
        expect(left?.[1]).toMatch(first)
        expect(other.split('\n')[1]).toBe(left?.[1])
        const own = /^left a note at 0x\w+: "hello from process (\d+), in (\w+)"$/m.exec(other)
        expect(own?.[2]).toBe(second)
        expect(own?.[1]).not.toBe(left?.[2])
        await output([...command(second, 'hello'), '--rm', 'greetings'])
      })
    }
  }

  for (const language of LANGUAGES) {
    it(`in ${language} started 6 times at once makes one region with 6 notes`, async () => {
      const all = await Promise.all(
        Array.from({ length: 6 }, () => output([...command(language, 'hello'), 'rush'])),
      )
      expect(all.filter((text) => text.includes(' made region ')).length).toBe(1)
      expect(new Set(all.map((text) => /at (0x\w+)$/m.exec(text)?.[1])).size).toBe(1)
      const seen = await output([...command(language, 'hello'), 'rush'])
      expect(seen.match(/^a note at /gm)?.length).toBe(6)
      await output([...command(language, 'hello'), '--rm', 'rush'])
    })

    it(`in ${language} says what is wrong with a name`, async () => {
      const { how, errors } = await run([...command(language, 'hello'), '../outside'])
      expect(how).toBe(1)
      expect(errors).toMatch(/^hello: .*outside/)
    })
  }
})
