// SPDX-License-Identifier: MIT
//
// docs/cli.md: its commands run as they stand, and it leaves out no command, option or property.

import { spawnSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Region } from '@mshare/core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { makeBin, mshare, TOP, useRoot } from './util.js'

const root = useRoot()
const text = readFileSync(join(TOP, 'docs/cli.md'), 'utf8')
const scripts = [...text.matchAll(/^```sh\n(.*?)^```$/gms)].map((match) => match[1] as string)

let bin: string
beforeAll(() => {
  bin = makeBin()
})
afterAll(() => rmSync(bin, { recursive: true, force: true }))

test.each(scripts)('%s', (script) => {
  const env = { ...process.env, PATH: `${bin}:${process.env['PATH']}`, MSHARE_ROOT: root.path }
  const { status, stderr } = spawnSync('sh', ['-ec', script], { encoding: 'utf8', env })
  expect({ status, stderr: stderr.replaceAll(/^mshare (info|map): .*\n/gm, '') }).toEqual({
    status: 0,
    stderr: '',
  })
  expect(Region.list()).toEqual([])
})

test('has every command and its options', async () => {
  const commands = [...(await mshare('--help')).out.matchAll(/^ {2}([a-z]+)(?= .* {2,}\S)/gm)]
  for (const [, name = ''] of commands.filter(([, name]) => name !== 'help')) {
    const row = text.split('\n').find((line) => new RegExp(`^\\| \`mshare ${name}[ \`]`).test(line))
    expect(row, name).toBeDefined()
    const { out } = await mshare('help', name)
    for (const [, option = ''] of out.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)/gm)) {
      if (['--json', '--help', '--timeout'].includes(option)) continue
      expect(row, `${name} ${option}`).toContain(option)
    }
  }
})

test('has every property of the schema', () => {
  const names = (node: unknown): string[] => {
    if (typeof node !== 'object' || node === null) return []
    const { properties = {} } = node as { properties?: object }
    return [...Object.keys(properties), ...Object.values(node).flatMap(names)]
  }
  const schema = JSON.parse(readFileSync(join(TOP, 'packages/cli/schema.json'), 'utf8'))
  const section = text.slice(text.indexOf('\n## JSON'), text.indexOf('\n## doctor'))
  const all = [...new Set(names(schema))]
  expect(all).toContain('unsharedPageTableBytes')
  expect(all.filter((name) => !section.includes(`\`${name}\``))).toEqual([])
})
