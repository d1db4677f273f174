// SPDX-License-Identifier: MIT

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { PassThrough } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterAll, afterEach, beforeAll, expect } from 'vitest'
import { main } from '../src/main.js'

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))
/** In the guest of `npm run vm`: what was built; anywhere else, the source. */
const BUILT = Boolean(process.env['MSHARE_VM'])
/** What comes after `node`. */
export const CLI = BUILT
  ? [path('../dist/cli.js')]
  : ['--import', path('../../../scripts/sources.mjs'), path('../src/cli.ts')]
export const TOP = path('../../..').replace(/\/$/, '')

const { MSHARE_TEST_BASE, MSHARE_ROOT: OUTER_ROOT } = process.env
export const TEST_BASE = MSHARE_TEST_BASE || OUTER_ROOT || '/dev/shm'
export const ON_MSHAREFS = statfsSync(TEST_BASE).type === 0x6d736872
export const GiB = 2 ** 30

/** A root of this test file's own; gone afterwards. */
export function useRoot(): { path: string } {
  const root = { path: '' }
  const { MSHARE_ROOT } = process.env
  beforeAll(() => {
    root.path = mkdtempSync(`${TEST_BASE}/mshare-cli-`)
    chmodSync(root.path, 0o755)
    Object.assign(process.env, { MSHARE_ROOT: root.path })
  })
  afterAll(() => {
    rmSync(root.path, { recursive: true })
    Reflect.deleteProperty(process.env, 'MSHARE_ROOT')
    if (MSHARE_ROOT !== undefined) Object.assign(process.env, { MSHARE_ROOT })
  })
  return root
}

export interface Ended {
  status: number | null
  out: string
  err: string
}

/** The command, in this process; not in a terminal. */
export async function mshare(...words: string[]): Promise<Ended> {
  const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() }
  const status = await main(words, streams)
  const text = (stream: PassThrough) => String(stream.read() ?? '')
  return { status, out: text(streams.stdout), err: text(streams.stderr) }
}

/** The command in a process of its own, started by another one if that is given. */
export function mshareProcess(
  words: readonly string[],
  { by = [], env = {} }: { by?: readonly string[]; env?: NodeJS.ProcessEnv } = {},
): Ended {
  const [command = '', ...args] = [...by, process.execPath, ...CLI, ...words]
  const { MSHARE_ROOT: _, ...rest } = process.env
  const child = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...rest, ...env },
    timeout: 1_800_000,
  })
  if (child.error) throw child.error
  return { status: child.status, out: child.stdout, err: child.stderr }
}

const schema = JSON.parse(readFileSync(path('../schema.json'), 'utf8'))

/** What is documented is all there is: nothing besides, in any object. */
function strictly(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(strictly)
  if (typeof node !== 'object' || node === null) return node
  const made: { type?: string; items?: { $ref?: string }; [key: string]: unknown } =
    Object.fromEntries(Object.entries(node).map(([key, value]) => [key, strictly(value)]))
  const close = (schema: object) => Object.assign(schema, { unevaluatedProperties: false })
  if (made.type === 'object') close(made)
  // A region is a part of what info gives, too: it is closed where it is used.
  if (made.items?.$ref === '#/$defs/region') close(made.items)
  return made
}

const strict = strictly(schema) as typeof schema
delete strict.$defs.region.unevaluatedProperties
const ajv = new Ajv2020({ allowUnionTypes: true, strictTypes: false, allErrors: true })
ajv.addSchema(strict)

/** One line, which has to be as the schema says; what it holds. */
export function parsed<T = Record<string, unknown>>(command: string, text: string): T {
  expect(text.endsWith('\n')).toBe(true)
  expect(text.trimEnd()).not.toContain('\n')
  const value = JSON.parse(text)
  const validate = ajv.getSchema(`urn:mshare:cli:1#/$defs/${command}`)
  if (!validate) throw new Error(`no schema of ${command}`)
  validate(value)
  expect(validate.errors ?? []).toEqual([])
  return value
}

/** The result of a command that is asked for JSON and does what it should. */
export async function json<T = Record<string, unknown>>(
  command: string,
  ...words: string[]
): Promise<T> {
  const { status, out, err } = await mshare(command, ...words, '--json')
  expect(err).toBe('')
  expect(status).toBe(0)
  return parsed<T>(command, out)
}

const running = new Set<ChildProcess>()
afterEach(async () => {
  for (const child of running) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  running.clear()
})

/** Another process that has the region attached, or just open, until the test ends. */
export async function attacher(name: string, what = 'region.attach()'): Promise<ChildProcess> {
  const program = `
    import { Region } from '@mshare/core'
    const region = Region.open(process.argv[1])
    const view = ${what}
    console.log('ready')
    setInterval(() => [region, view], 1e6)
  `
  const [flag, sources] = CLI
  const child = spawn(
    process.execPath,
    [
      ...(BUILT ? [] : [flag as string, sources as string]),
      '--input-type=module',
      '-e',
      program,
      name,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], cwd: path('..') },
  )
  running.add(child)
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  expect(line).toBe('ready')
  return child
}

/** In a mount namespace of its own, after these lines of sh. To come before a command. */
export const inMounts = (script: string) => [
  ...['unshare', '--mount', '--propagation', 'private', 'sh', '-ec', `${script}\nexec "$@"`, 'sh'],
]

/** The uppermost directory on the way to this checkout that is closed to others, such as /root. */
const closed = TOP.split('/')
  .map((_, i, parts) => parts.slice(0, i + 1).join('/') || '/')
  .find((directory) => (statSync(directory).mode & 0o001) === 0)

/** For such a namespace: the checkout is where it is, and nothing closed above it. */
const OPENED = `
  away=$(mktemp -d)
  mount --bind '${TOP}' "$away"
  mount -t tmpfs -o mode=755 none '${closed}'
  mkdir -p '${TOP}'
  mount --move "$away" '${TOP}'
  rmdir "$away"
  cd '${TOP}'
  exec "$@"`

/** After inMounts(): another user, who may read all files, for they may be root's; and write none. */
export const NOBODY = [
  ...(closed === undefined ? [] : ['sh', '-ec', OPENED, 'sh']),
  ...['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'],
  ...['--inh-caps', '-all,+dac_read_search', '--ambient-caps', '-all,+dac_read_search'],
  ...['--bounding-set', '-all,+dac_read_search'],
]

/** Whether there can be no such namespace: then the test skips, but in CI it fails. */
export function noMounts({ skip }: { skip(why: string): never }): boolean {
  const { status, stderr } = spawnSync('unshare', ['--mount', 'true'], { encoding: 'utf8' })
  if (status === 0) return false
  if (process.env['CI'] === 'true') throw new Error(`no mount namespace: ${stderr}`)
  return skip(`no mount namespace: ${stderr}`)
}

/** A directory with `mshare` in it, for PATH. */
export function makeBin(): string {
  const bin = mkdtempSync(join(tmpdir(), 'mshare-cli-'))
  const words = [process.execPath, ...CLI].map((word) => `'${word}'`).join(' ')
  writeFileSync(join(bin, 'mshare'), `#!/bin/sh\nexec ${words} "$@"\n`)
  chmodSync(join(bin, 'mshare'), 0o755)
  chmodSync(bin, 0o755)
  return bin
}

/** Whether a program is not installed: then the test skips, but in CI it fails. */
export function missing(program: string, { skip }: { skip(why: string): never }): boolean {
  const found = (process.env['PATH'] ?? '')
    .split(':')
    .some((dir) => existsSync(`${dir}/${program}`))
  if (found) return false
  if (process.env['CI'] === 'true') throw new Error(`${program} is not installed`)
  return skip(`${program} is not installed`)
}
