// SPDX-License-Identifier: MIT

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Result, type RunOptions, run } from '@mshare/vm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const cli = fileURLToPath(new URL('../src/cli.ts', import.meta.url))
const home = fileURLToPath(new URL('..', import.meta.url))
const here = realpathSync(mkdtempSync(join(tmpdir(), 'mshare-vm-test-')))
afterAll(() => rmSync(here, { recursive: true, force: true }))

// What is tested is the machine: whichever kernel is there already will do.
const kernel = process.env['MSHARE_TEST_KERNEL'] ?? 'test'

const boot = (command: string | string[], options: Partial<RunOptions> = {}): Promise<Result> =>
  run({
    command: typeof command === 'string' ? ['sh', '-c', command] : command,
    cwd: home,
    kernel,
    memory: '512M',
    timeout: 120,
    ...options,
  })

const program = (args: string[], env: Record<string, string> = {}, input = '') =>
  spawnSync(process.execPath, ['--import', 'tsx', cli, '--kernel', kernel, ...args], {
    encoding: 'utf8',
    cwd: home,
    input,
    env: { ...process.env, ...env },
  })

beforeAll(async () => {
  // The first run builds what is missing, which may take a quarter of an hour.
  expect(await boot('true')).toMatchObject({ kind: 'exited', status: 0 })
}, 3_600_000)

describe('what the command does comes back', () => {
  test('its output, byte by byte, and its status', async () => {
    const input = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) % 256))
    const result = await boot('cat; printf "e\\r\\n\\0\\377" >&2; exit 3', { stdin: input })
    expect(result).toMatchObject({ kind: 'exited', status: 3 })
    expect(result.stdout.equals(input)).toBe(true)
    expect(result.stderr.toString('latin1')).toBe('e\r\n\0\xff')
  })

  test('to streams that take their time', async () => {
    let size = 0
    const slow = new Writable({
      highWaterMark: 1,
      write(chunk, _encoding, done) {
        size += chunk.length
        setImmediate(done)
      },
    })
    expect(await boot('head -c 1000000 /dev/zero', { stdout: slow })).toMatchObject({ status: 0 })
    expect(size).toBe(1_000_000)
  })

  test('a program that is not there: 127, as a shell has it', async () => {
    const result = await boot(['no-such-program'])
    expect(result).toMatchObject({ kind: 'exited', status: 127 })
    expect(result.stderr.toString()).toContain('no-such-program')
  })

  test('while GDB is there, and after', async () => {
    const gdb = join(here, 'gdb')
    const stdin = new PassThrough()
    const result = boot('cat', { gdb, stdin })
    while (!existsSync(gdb)) await sleep(10)
    const debugger_ = connect(gdb)
    // Ask for a register, all of them; let it go on.
    debugger_.write('$g#67')
    let answer = ''
    while (!/\$[\da-f]{400,}#/.test(answer)) answer += (await once(debugger_, 'data')).join('')
    debugger_.end('+$D#44')
    stdin.end('done\n')
    expect(await result).toMatchObject({ kind: 'exited', status: 0 })
    expect((await result).stdout.toString()).toBe('done\n')
  })

  test('a signal', async () => {
    expect(await boot('kill -SEGV $$')).toMatchObject({ kind: 'signalled', signal: 'SIGSEGV' })
  })
})

describe('the guest', () => {
  test('has its root, its environment and this directory', async () => {
    const share = mkdtempSync(join(here, 'share-'))
    const result = await boot(
      [
        'id -u; pwd; nproc; echo "$A"',
        'cat /sys/fs/cgroup/cgroup.subtree_control',
        'wc -l </proc/swaps',
        `echo from the guest >${share}/file`,
        'echo x >written && cat written',
        'ls -d /proc/1 /dev/pts/ptmx /dev/shm /dev/fd/0 /dev/ram0 /sys/kernel/debug/sched',
        'ls /tmp',
      ].join('\n'),
      {
        env: { PATH: '/usr/bin:/bin', A: "it's a 'test'\n" },
        cpus: 3,
        shares: [share],
        swap: '64M',
      },
    )
    expect(result).toMatchObject({ kind: 'exited', status: 0 })
    const lines = result.stdout.toString().split('\n')
    expect(lines.slice(0, 5)).toEqual(['0', home.replace(/\/$/, ''), '3', "it's a 'test'", ''])
    expect(lines[5]?.split(' ')).toEqual(expect.arrayContaining(['memory', 'pids']))
    expect(lines[6]).toBe('2')
    expect(lines[7]).toBe('x')
    // Of /tmp, what is shared, and nothing else that is there.
    expect(lines.slice(14)).toEqual([here.split('/')[2], ''])
    expect(readFileSync(join(share, 'file'), 'utf8')).toBe('from the guest\n')
    expect(existsSync(join(home, 'written'))).toBe(false)
  })

  test('sees a directory below /tmp that the command runs in, and keeps its changes', async () => {
    const result = await boot('pwd; echo x >new; cat new', { cwd: here })
    expect(result.stdout.toString()).toBe(`${here}\nx\n`)
    expect(existsSync(join(here, 'new'))).toBe(false)
  })
})

describe('what goes wrong is told apart', () => {
  test('a panic', async () => {
    const result = await boot('echo before; echo c >/proc/sysrq-trigger; sleep 60')
    expect(result.kind).toBe('panicked')
    expect(result.stdout.toString()).toBe('before\n')
    expect(result.log).toContain('sysrq')
  })

  test('a guest that takes too long', async () => {
    const result = await boot('echo before; sleep 60', { timeout: 10 })
    expect(result.kind).toBe('timed-out')
    expect(result.stdout.toString()).toBe('before\n')
  })

  test('a guest that ends without a word', async () => {
    const off = await boot('echo o >/proc/sysrq-trigger; while :; do :; done')
    expect(off).toMatchObject({ kind: 'died', reason: 'it was switched off' })
    const restarted = await boot('echo b >/proc/sysrq-trigger; while :; do :; done')
    expect(restarted).toMatchObject({ kind: 'died', reason: 'QEMU ended with status 0' })
  })

  test('a complaint in the kernel log, of a command that is content; a segfault is none', async () => {
    const result = await boot(
      'echo "prog[1]: segfault at 0 ip 0" >/dev/kmsg; echo "WARNING: possible recursion" >/dev/kmsg',
    )
    expect(result).toMatchObject({ kind: 'complained', ended: { kind: 'exited', status: 0 } })
    expect(result.complaints).toHaveLength(1)
    expect(result.complaints[0]).toContain('WARNING: possible recursion')
  })
})

describe('npm run vm', () => {
  test('passes the status on, and writes the kernel log', () => {
    const log = join(here, 'log')
    const own = ['--memory', '512M', '--env', 'B=1', '--log', log]
    const { status, stdout, stderr } = program(
      [...own, 'sh', '-c', 'cat; exit $((B + 4))'],
      {},
      'x',
    )
    expect({ status, stdout, stderr }).toEqual({ status: 5, stdout: 'x', stderr: '' })
    expect(readFileSync(log, 'utf8')).toContain('Linux version')
  })

  test('killed, leaves no guest behind', async () => {
    const args = ['--kernel', kernel, '--memory', '512M', 'sh', '-c', 'echo up; sleep 600']
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      const child = spawn(process.execPath, ['--import', 'tsx', cli, ...args], { cwd: home })
      await once(child.stdout, 'data')
      const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')
      const guest = children
        .trim()
        .split(' ')
        .find((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('qemu'))
      child.kill(signal)
      await expect.poll(() => existsSync(`/proc/${guest}`), { timeout: 30_000 }).toBe(false)
    }
  })

  test('says what is wrong: statuses 2, 122 and 123', () => {
    expect(program(['--no-such-option', 'true']).status).toBe(2)
    expect(program(['--memory', 'much', 'true']).status).toBe(2)
    expect(program(['--kernel', '/nowhere', 'true']).status).toBe(2)
    expect(program([]).status).toBe(2)

    const missing = program(['true'], { PATH: here })
    expect(missing.status).toBe(122)
    expect(missing.stderr).toContain('apt-get install')
    expect(missing.stderr).toContain('qemu-system-x86')

    const complaint = program(['--memory', '512M', 'sh', '-c', 'echo BUG: a test >/dev/kmsg'])
    expect(complaint.status).toBe(123)
    expect(complaint.stderr).toContain('BUG: a test')
  })

  test('--dry-run prints the plan and boots nothing', () => {
    const { status, stdout } = program(['--icount', '--dry-run', 'a program', '--memory'])
    expect(status).toBe(0)
    expect(stdout).toMatch(/^kernel: .*vmlinux/m)
    expect(stdout).toMatch(/^command: 'a program' --memory$/m)
    expect(stdout).toMatch(/^qemu: .*-icount.* -smp 1 /m)
  })
})
