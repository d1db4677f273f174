// SPDX-License-Identifier: MIT

import { describe, expect, it } from 'vitest'
import { makeLibrary } from './library.js'
import { command, ON_MSHAREFS, output, ownRoot, Process, run } from './util.js'

describe('demo', () => {
  ownRoot()

  it('shows, checks and cleans up', async () => {
    using library = makeLibrary(300, 300)
    const text = await output([...command('TypeScript', 'shared-index', 'demo'), library.directory])
    expect(text).toContain('both readers give the same numbers')
    // How many page tables are shared, or would be.
    expect(text).toMatch(
      ON_MSHAREFS
        ? /Back end: msharefs: \d+ page tables \(\d+ KiB\), shared by all: [4-7] attachments/
        : /Back end: shm: .*\nOn msharefs there would be one set: about \d+ KiB/,
    )
    const bases = [...text.matchAll(/^ {2}(?:writer|reader|demo) in .*?(0x\w+)/gm)].map((m) => m[1])
    expect(bases.length).toBe(7)
    expect(new Set(bases).size).toBe(1)
  })

  it('removes its region and its processes on SIGINT', async () => {
    using library = makeLibrary(300, 300)
    const demo = new Process([...command('TypeScript', 'shared-index', 'demo'), library.directory])
    for (let line = ''; !line.startsWith('Region "'); line = await demo.line());
    demo.kill('SIGINT')
    expect((await demo.ended).how).toBe(130)
    // That the region is gone is seen after every test.
  })

  it('fails without files', async () => {
    const { how, errors } = await run([
      ...command('TypeScript', 'shared-index', 'demo'),
      '/proc/self/task/nothing',
    ])
    expect(how).toBe(1)
    expect(errors).toMatch(/^demo: /)
  })
})
