// SPDX-License-Identifier: MIT
//
// mshare top in a terminal: one of tmux's, which can be asked what it shows and what state it is in.

import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync, renameSync, rmSync } from 'node:fs'
import { Region } from '@mshare/core'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { makeBin, missing, useRoot } from './util.js'

const root = useRoot()
/** One for each test: a server that is on its way out takes no more. */
let socket = ''
let servers = 0
let bin: string

beforeAll(() => {
  bin = makeBin()
})
afterAll(() => rmSync(bin, { recursive: true, force: true }))
afterEach(() => {
  spawnSync('tmux', ['-S', socket, 'kill-server'])
  for (const name of Region.list()) Region.unlink(name)
})

const tmux = (...args: string[]) =>
  execFileSync('tmux', ['-S', socket, '-f', '/dev/null', ...args], { encoding: 'utf8' })

const type = (...keys: string[]) => tmux('send-keys', '-t', 'mshare', ...keys)
const screen = () => tmux('capture-pane', '-p', '-t', 'mshare')
const lines = () => screen().split('\n')
/** Alternate screen, cursor, wrapping. */
const modes = () =>
  tmux(
    'display-message',
    '-p',
    '-t',
    'mshare',
    '#{alternate_on} #{cursor_flag} #{wrap_flag}',
  ).trim()
const INSIDE = '1 0 0'
const OUTSIDE = '0 1 1'

/** Until the terminal is as it should be; the test's time limit is the only one. */
async function see(what: string, is: () => boolean): Promise<void> {
  const end = performance.now() + 45_000
  while (!is()) {
    if (performance.now() > end) throw new Error(`${what}, and there is (${modes()}):\n${screen()}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
const shows = (pattern: RegExp | string) =>
  see(`should show ${pattern}`, () =>
    typeof pattern === 'string' ? screen().includes(pattern) : pattern.test(screen()),
  )

let settings: string

beforeEach(async (context) => {
  if (missing('tmux', context)) return
  socket = `${bin}/tmux-${servers++}`
  for (let i = 0; i < 30; i++) {
    using region = Region.create(`r${String(i).padStart(2, '0')}`, { size: '1GiB' })
    region.map({ length: 4096 * (i + 1) })
  }
  const env = { PATH: `${bin}:${process.env['PATH']}`, MSHARE_ROOT: root.path, PS1: '$ ' }
  const { NO_COLOR: _, FORCE_COLOR: __, TMUX: ___, ...rest } = process.env
  execFileSync(
    'tmux',
    [
      ...[
        '-S',
        socket,
        '-f',
        '/dev/null',
        'new-session',
        '-d',
        '-s',
        'mshare',
        '-x',
        '80',
        '-y',
        '24',
      ],
      ...['bash', '--norc', '--noprofile', '-i'],
    ],
    { env: { ...rest, ...env } },
  )
  await shows('$')
  settings = await stty('before')
})

/** The terminal's own settings: echo, lines, signals. */
async function stty(mark: string): Promise<string> {
  type('-l', `clear; stty -g > ${bin}/stty; echo ${mark}-d''one\n`)
  await shows(`${mark}-done`)
  return readFileSync(`${bin}/stty`, 'utf8')
}

async function start(before = '', interval = '0.1'): Promise<void> {
  type('-l', `clear; ${before} mshare top -i ${interval}\n`)
  await shows(/^ATTACHED/m)
  await see('should be on the other screen', () => modes() === INSIDE)
}

async function restored(status: number): Promise<void> {
  await see('should be on the first screen', () => modes() === OUTSIDE)
  // Of its own: bash leaves what comes after a command that SIGINT has ended.
  type('-l', 'echo "status=$?"\n')
  await shows(`status=${status}`)
  expect(modes()).toBe(OUTSIDE)
  expect(screen()).not.toContain('ATTACHED')
  expect(await stty('after')).toBe(settings)
}

/** The process in the foreground. */
function pid(): number {
  const shell = tmux('display-message', '-p', '-t', 'mshare', '#{pane_pid}').trim()
  const children = readFileSync(`/proc/${shell}/task/${shell}/children`, 'utf8').trim().split(' ')
  expect(children).toHaveLength(1)
  return Number(children[0])
}

test('shows regions as they come and go, and ends with q', async () => {
  await start()
  expect(lines()[0]).toMatch(/^30 regions, 0 attachments, 1\.8 MiB resident, in /)
  expect(lines()[23]).toMatch(/^1 to 19 of 30 {2}q quit/)
  // The largest first.
  expect(lines()[4]).toMatch(/ r29$/)
  using region = Region.create('new', { size: '1GiB' })
  region.map({ length: '16MiB' })
  await shows(/^31 regions/)
  await see('should be the first', () => / 16 MiB .* new$/.test(lines()[4] as string))
  using view = region.attach()
  await shows(/^31 regions, 1 attachment,/)
  view.detach()
  Region.unlink('new')
  await shows(/^30 regions, 0 attachments/)
  type('q')
  await restored(0)
})

test('scrolls and sorts', async () => {
  await start()
  type('NPage')
  await shows(/^12 to 30 of 30/m)
  expect(lines()[22]).toMatch(/ r00$/)
  type('Home')
  await shows(/^1 to 19 of 30/m)
  type('Down', 'Down')
  await shows(/^3 to 21 of 30/m)
  type('End')
  await shows(/^12 to 30 of 30/m)
  type('n')
  await see('should be sorted by name', () => / r00$/.test(lines()[4] as string))
  type('r')
  await see('should be sorted by size', () => / r29$/.test(lines()[4] as string))
  type('q')
  await restored(0)
})

test('follows the size of the terminal', async () => {
  // It has to draw because of the size, and for no other reason.
  await start('', '1000')
  tmux('resize-window', '-t', 'mshare', '-x', '50', '-y', '10')
  await see('should use ten lines', () => /^1 to 5 of 30 {2}q quit/.test(lines()[9] ?? ''))
  // Nothing is wrapped.
  expect(lines()[4]).toMatch(/ r29$/)
  expect(lines()[8]).toMatch(/ r25$/)
  // Names stay, whatever else there is no room for.
  tmux('resize-window', '-t', 'mshare', '-x', '40', '-y', '10')
  await see('should show names', () => / RESIDENT +NAME$/.test(lines()[3] ?? ''))
  expect(lines()[4]).toMatch(/ r29$/)
  tmux('resize-window', '-t', 'mshare', '-x', '10', '-y', '10')
  await see('should show names alone', () => lines()[4] === 'r29')
  tmux('resize-window', '-t', 'mshare', '-x', '12', '-y', '2')
  await see('should use two lines', () => /^\d+ regions/.test(lines()[0] ?? ''))
  tmux('resize-window', '-t', 'mshare', '-x', '100', '-y', '40')
  await shows(/ r00\n/)
  expect(lines()[39]).toMatch(/^q quit/)
  type('q')
  await restored(0)
})

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
  ['SIGQUIT', 131],
] as const)('restores the terminal on %s', async (signal, status) => {
  await start()
  process.kill(pid(), signal)
  await restored(status)
})

test('control-C, control-backslash: as those signals', async () => {
  await start()
  type('C-c')
  await restored(130)
  await start()
  type('C-\\')
  await restored(131)
})

test('control-Z leaves the terminal to the shell, fg takes it again', async () => {
  await start()
  type('C-z')
  await shows(/Stopped/)
  expect(modes()).toBe(OUTSIDE)
  type('-l', 'fg\n')
  await see('should be on the other screen', () => modes() === INSIDE)
  await shows(/^30 regions/)
  type('q')
  await see('should be left', () => modes() === OUTSIDE)
  expect(await stty('after')).toBe(settings)
})

test('a root that goes, and comes back, is said and does not end it', async () => {
  await start()
  renameSync(root.path, `${root.path}-away`)
  await shows(/^ENOENT: /)
  renameSync(`${root.path}-away`, root.path)
  await shows(/^30 regions/)
  type('q')
  await restored(0)
})

test('names do not speak to the terminal', async () => {
  using region = Region.create('\x1b[?1049lname', { size: '1GiB' })
  region.map({ length: '1MiB' })
  await start()
  await shows('\\u{1b}[?1049lname')
  expect(modes()).toBe(INSIDE)
  type('q')
  await restored(0)
})

test('colours, and none with NO_COLOR', async () => {
  const reversed = () => tmux('capture-pane', '-p', '-e', '-t', 'mshare').includes('\x1b[7m')
  await start()
  expect(reversed()).toBe(true)
  type('q')
  await restored(0)
  await start('NO_COLOR=1')
  expect(reversed()).toBe(false)
  type('q')
  await restored(0)
})

test('ends by itself after --count pictures', async () => {
  type('-l', 'clear; mshare top --count 2 --interval 0.1; echo en""ded\n')
  await shows('ended')
  await restored(0)
})
