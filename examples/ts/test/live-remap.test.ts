// SPDX-License-Identifier: MIT

import { describe, expect, it } from 'vitest'
import { command, output, ownRoot } from './util.js'

/** The steps, and what each watcher said. */
function steps(text: string): [string, string[]][] {
  const list: [string, string[]][] = []
  for (const line of text.trimEnd().split('\n')) {
    const watcher = /^ {4}watcher \d(?:, process \d+)?: (.*)$/.exec(line)
    if (watcher) list.at(-1)?.[1].push(watcher[1] as string)
    else list.push([line.replace(/0x\w+/, 'BASE'), []])
  }
  return list
}

const thrice = (text: string) => [text, text, text]

describe('live-remap', () => {
  ownRoot()

  it('in C: three processes see every change by loading and storing', async () => {
    const text = await output(command('C', 'live-remap'))
    const base = /at (0x\w+)/.exec(text)?.[1]
    expect(steps(text)).toEqual([
      ['region "live-remap": a window of 1 GiB at BASE, 3 watchers', thrice(`attached at ${base}`)],
      ['nothing is mapped', thrice('no access')],
      ['map 64 KiB, read and write; store "first"', thrice('readable and writable: "first"')],
      ['store "second"; protect: read', thrice('readable: "second"')],
      ['protect: none', thrice('no access')],
      [
        'protect: read and write; the contents are still there',
        thrice('readable and writable: "second"'),
      ],
      ['unmap', thrice('no access')],
      ['map again: new memory, zeroed', thrice('readable and writable: ""')],
      ['every watcher saw every change', []],
    ])
  })

  it('in TypeScript: three processes see every change by asking; one is killed by a hole', async () => {
    const text = await output(command('TypeScript', 'live-remap'))
    const base = /at (0x\w+)/.exec(text)?.[1]
    expect(steps(text)).toEqual([
      ['region "live-remap": a window of 1 GiB at BASE, 3 watchers', thrice(`attached at ${base}`)],
      ['nothing is mapped', thrice('a hole')],
      ['map 64 KiB, read and write; store "first"', thrice('readable and writable: "first"')],
      ['store "second"; protect: read', thrice('readable: "second"')],
      ['protect: none', thrice('mapped, no access')],
      [
        'protect: read and write; the contents are still there',
        thrice('readable and writable: "second"'),
      ],
      ['unmap', thrice('a hole')],
      ['map again: new memory, zeroed', thrice('readable and writable: ""')],
      [
        'unmap; watcher 1 reads through the view it has, without asking',
        ['the watcher is gone: SIGSEGV'],
      ],
      ['the others ask first', ['a hole', 'a hole']],
      ['every watcher saw every change', []],
    ])
  })
})
