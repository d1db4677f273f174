// SPDX-License-Identifier: MIT
//
// The command line: mshare-vm, npm run vm, mshare vm.

import { parseArgs } from 'node:util'
import { VmError } from './error.js'
import { findKernel } from './kernel.js'
import { plan } from './plan.js'
import { type Ended, exitStatus, type RunOptions, run } from './run.js'

const usage = (program: string) => `usage: ${program} [OPTION...] [COMMAND [ARGUMENT...]]

Boots the kernel of this tree under QEMU and runs COMMAND in it, as root, in
this directory. The guest's root is the host's, read-only with a layer in
memory above: it can write anywhere, and nothing of it reaches the host. /tmp
and /run are its own, except for the part of them this directory is in. Without
COMMAND: a shell, if this is a terminal; Ctrl-] ends the guest.

  --kernel NAME     test (the default), debug, stock or stock-debug (the same without mshare), or
                    the path of a vmlinux
  --debug-kernel    the same as --kernel debug
  --memory SIZE     like 512M; default 4G
  --cpus N          1 to 8; default as many as here, at least 2, at most 4, or 1 with --icount
  --timeout S       seconds, 0 for ever; default 1800, for a shell 0
  --share DIR       the guest can write this directory of the host (six at most)
  --keep DIR        the guest sees this directory below /tmp or /run; its changes stay there
  --env NAME=VALUE  besides what is passed on: PATH, HOME, USER, SHELL, TERM, LANG, LC_*, CI,
                    NO_COLOR, FORCE_COLOR, NODE_OPTIONS, MSHARE_* (MSHARE_CACHE excepted)
  --swap SIZE       swap on zram
  --icount          a clock that counts instructions, of all processors
  --gdb PATH        a socket to be made, at which GDB finds the machine: "target remote PATH", with
                    the vmlinux that --dry-run names (names of functions; it has no debug information)
  --append ARG      for the kernel's command line
  --log FILE        the kernel log
  --dry-run         print what would be run

The exit status is COMMAND's own (128 + N for signal N; 126 and 127 as a shell
has them), or
  2    an option is wrong
  122  no guest came to run: something is missing, and said
  123  the kernel log has a complaint, whatever COMMAND's status
  124  not done in time
  125  the kernel panicked, or the guest died
and a line on stderr says which, beginning with "vm:".`

const say = (text: string) => process.stderr.write(`vm: ${text}\n`)

function environment(more: string[]): Record<string, string> {
  const passed =
    /^(PATH|HOME|USER|LOGNAME|SHELL|TERM|LANG|LC_.*|CI|NO_COLOR|FORCE_COLOR|NODE_OPTIONS|MSHARE_.*)$/
  const env: Record<string, string> = { MSHARE_VM: '1' }
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && passed.test(name) && name !== 'MSHARE_CACHE') env[name] = value
  }
  for (const pair of more) {
    const at = pair.indexOf('=')
    if (at < 1) throw new VmError('ERR_OPTION', `--env ${pair}: say NAME=VALUE`)
    env[pair.slice(0, at)] = pair.slice(at + 1)
  }
  return env
}

function number(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (text !== '' && Number.isFinite(value) && value >= 0) return value
  throw new VmError('ERR_OPTION', `--${name} ${text}: not a number`)
}

const how = (ended: Ended) =>
  ended.kind === 'exited' ? `status ${ended.status}` : `killed by ${ended.signal}`

const quote = (word: string) =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`

/** Options end at the first word that is none: the rest is the command, its own options included. */
function split(words: string[]): { own: string[]; command: string[] } {
  const flags = ['--icount', '--dry-run', '--debug-kernel', '--help', '-h']
  let i = 0
  while (i < words.length) {
    const word = words[i] as string
    if (word === '--') return { own: words.slice(0, i), command: words.slice(i + 1) }
    if (!word.startsWith('-')) break
    i += flags.includes(word) || word.includes('=') ? 1 : 2
  }
  return { own: words.slice(0, i), command: words.slice(i) }
}

async function main(words: string[], program: string): Promise<number> {
  const { own, command } = split(words)
  let values: ReturnType<typeof parse>
  try {
    values = parse(own)
  } catch (error) {
    throw new VmError('ERR_OPTION', `${(error as Error).message} (--help lists the options)`)
  }
  if (values.help) {
    console.log(usage(program))
    return 0
  }
  const tty = Boolean(process.stdin.isTTY && process.stdout.isTTY)
  if (command.length === 0 && !tty && !values['dry-run']) {
    throw new VmError('ERR_OPTION', 'no command, and no terminal for a shell')
  }
  const interactive = command.length === 0
  const set = <K extends keyof RunOptions>(name: K, value: RunOptions[K] | undefined) =>
    value === undefined ? {} : { [name]: value }
  const options: RunOptions = {
    command: interactive ? [process.env['SHELL'] ?? '/bin/sh', '-i'] : command,
    env: environment(values.env ?? []),
    kernel: values['debug-kernel'] ? 'debug' : (values.kernel ?? 'test'),
    timeout: number('timeout', values.timeout) ?? (interactive ? 0 : 1800),
    shares: values.share ?? [],
    keep: values.keep ?? [],
    append: values.append ?? [],
    icount: values.icount ?? false,
    ...set('memory', values.memory),
    ...set('cpus', number('cpus', values.cpus)),
    ...set('swap', values.swap),
    ...set('gdb', values.gdb),
    ...set('log', values.log),
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
  }
  if (tty) {
    options.terminal = { rows: process.stdout.rows, columns: process.stdout.columns }
    options.onResize = (resized) => {
      process.stdout.on('resize', () => resized(process.stdout.rows, process.stdout.columns))
    }
  }

  const { qemu, args, append, kept } = plan(options)
  if (values['dry-run']) {
    const kernel = await findKernel(options.kernel as string, false)
    console.log(`kernel: ${kernel.path}${kernel.built ? '' : ' (would be built first)'}`)
    console.log(`command: ${options.command.map(quote).join(' ')}`)
    const line = [qemu, ...args, '-kernel', kernel.path, '-initrd', 'INITRD', '-append', append]
    console.log(`qemu: ${line.map(quote).join(' ')}`)
    return 0
  }
  for (const path of kept) say(`the guest sees ${path}, and keeps its changes there to itself`)

  // Built before the terminal is taken: that takes minutes, and somebody may want to stop it.
  options.kernel = (await findKernel(options.kernel as string, true)).path
  if (tty) {
    process.stdin.setRawMode(true)
    process.stdin.on('data', (data: Buffer) => {
      if (data.includes(0x1d)) process.kill(process.pid, 'SIGTERM')
    })
    process.on('exit', () => process.stdin.setRawMode(false))
  }
  const result = await run(options)
  if (tty) process.stdin.setRawMode(false)

  if (result.kind === 'timed-out') {
    const ended = result.ended ? `, though the command ended with ${how(result.ended)}` : ''
    say(`not done after ${options.timeout} seconds${ended}: killed. The kernel log ends with`)
    say(tail(result.log))
  } else if (result.kind === 'panicked') {
    say(`the kernel panicked:\n${report(result.log, /Oops|BUG|Kernel panic/)}`)
  } else if (result.kind === 'died') {
    say(`the guest died: ${result.reason}. The kernel log ends with\n${tail(result.log)}`)
  } else if (result.kind === 'complained') {
    say(`the kernel complained (the command: ${how(result.ended)}):`)
    for (const line of result.complaints) say(`  ${line}`)
    const first = result.complaints[0] as string
    say(`the first of them in the kernel log:\n${around(result.log, first)}`)
  } else if (result.kind === 'signalled') {
    say(`the command was ${how(result)}`)
  }
  if (exitStatus(result) !== 0) {
    const crashes = result.log.split('\n').filter((line) => crash.test(line))
    if (crashes.length > 0) say(`programs that crashed or were killed, the last of them:`)
    for (const line of crashes.slice(-10)) say(`  ${line}`)
  }
  if (result.kind === 'timed-out' && result.complaints.length > 0) {
    for (const line of result.complaints) say(`  complaint: ${line}`)
  }
  return exitStatus(result)
}

function parse(args: string[]) {
  return parseArgs({
    args,
    options: {
      kernel: { type: 'string' },
      'debug-kernel': { type: 'boolean' },
      memory: { type: 'string' },
      cpus: { type: 'string' },
      timeout: { type: 'string' },
      share: { type: 'string', multiple: true },
      keep: { type: 'string', multiple: true },
      env: { type: 'string', multiple: true },
      swap: { type: 'string' },
      icount: { type: 'boolean' },
      gdb: { type: 'string' },
      append: { type: 'string', multiple: true },
      log: { type: 'string' },
      'dry-run': { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  }).values
}

/** What the kernel logs of programs; some may be meant to end so. */
const crash =
  /segfault at|traps: |general protection|Out of memory: Killed|Memory cgroup out of memory/

const tail = (log: string) => log.trimEnd().split('\n').slice(-15).join('\n')

function around(log: string, line: string): string {
  const lines = log.split('\n')
  const at = Math.max(lines.indexOf(line) - 2, 0)
  return lines
    .slice(at, at + 45)
    .join('\n')
    .trimEnd()
}

function report(log: string, begin: RegExp): string {
  const line = log.split('\n').find((line) => begin.test(line))
  return line === undefined ? tail(log) : around(log, line)
}

/** Do what the words ask for, and say how it went; gives the exit status. */
export async function command(words: string[], program = 'npm run vm --'): Promise<number> {
  try {
    return await main(words, program)
  } catch (error) {
    if (!(error instanceof VmError)) throw error
    say(error.message)
    return error.code === 'ERR_OPTION' ? 2 : 122
  } finally {
    // Standard input may have more to say; nobody listens.
    process.stdin.destroy()
  }
}
