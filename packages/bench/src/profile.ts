// SPDX-License-Identifier: MIT
/**
 * Where instructions go: a guest is stepped through what other rows count, one instruction at a
 * time, between two marks of guest.h, by way of QEMU's GDB stub; each step counts for the function
 * it is in. Interrupts wait meanwhile.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { bootOnce, cli, program } from './guest.js'
import type { Measurement } from './measurement.js'

/** A program of c/, and what of it is stepped through. */
interface Run {
  command: string[]
  memory: string
  /** The first times it comes by a mark are for what is allocated once. */
  nth: number
  /** Not all up to the next mark, but so many page faults: counted is one, on the average. */
  faults?: number
  /** By the marks' labels: ours, and what it is beside. */
  compared: { title: string; labels: [string, string] }[]
}

const runs: Run[] = [
  {
    command: ['spread', '1', '1', 'idle', '1', '64'],
    memory: '1G',
    nth: 4,
    compared: [
      {
        title: 'B5: protect one page, one attacher',
        labels: ['msharefs, protect 1 page, 1', 'threads, protect 1 page, 1'],
      },
      {
        title: 'B5: protect one page, 64 attachers, 63 of them asleep',
        labels: ['msharefs, protect 1 page, 64', 'threads, protect 1 page, 64'],
      },
      {
        title: 'B5: unmap one page, 64 attachers, 63 of them asleep',
        labels: ['msharefs, unmap 1 page, 64', 'threads, unmap 1 page, 64'],
      },
    ],
  },
  {
    command: ['touch', '1'],
    memory: '1G',
    nth: 2,
    faults: 20,
    compared: [
      {
        title: 'B3: the first touch of a page that is there',
        labels: ['msharefs, page that is there', 'memfd, page that is there'],
      },
    ],
  },
  {
    command: ['calls', '1', '64'],
    memory: '2G',
    nth: 30,
    compared: [
      {
        title: 'B6: attach, first access and detach, in a window of 64 GiB and of one',
        labels: ['msharefs, 1 page, window of 64 GiB', 'msharefs, 1 page'],
      },
    ],
  },
]

const fault = 'asm_exc_page_fault'
const user = 'user: '

/** Functions and how many instructions were in each. */
type Counts = Map<string, number>

/** QEMU's side of the GDB remote serial protocol: one request, one answer. */
class Stub {
  readonly #socket: Socket
  readonly #packets: AsyncIterator<string>

  constructor(socket: Socket) {
    this.#socket = socket
    this.#packets = Stub.#parse(socket.setEncoding('latin1'))
  }

  static async *#parse(socket: AsyncIterable<string>) {
    let text = ''
    for await (const more of socket) {
      text += more
      for (let packet = /\$([^#]*)#../.exec(text); packet; packet = /\$([^#]*)#../.exec(text)) {
        text = text.slice(packet.index + packet[0].length)
        yield packet[1] as string
      }
    }
  }

  async #answer(): Promise<string> {
    const { done, value } = await this.#packets.next()
    if (done) throw new Error('the guest has ended')
    this.#socket.write('+')
    return value
  }

  ask(request: string): Promise<string> {
    const sum = Buffer.from(request).reduce((a, b) => (a + b) % 256, 0)
    this.#socket.write(`$${request}#${sum.toString(16).padStart(2, '0')}`)
    return this.#answer()
  }

  async begin(): Promise<void> {
    // That it has stopped it says by itself, or not, as versions of QEMU differ.
    for (let text = await this.ask('qAttached'); text !== '1'; ) text = await this.#answer()
    // Only who has asked for this may ask for single registers.
    await this.ask('qXfer:features:read:target.xml:0,ff')
  }

  /** Of the 64 bits at an address, or in register rip. */
  async word(request: string): Promise<bigint> {
    const bytes = Buffer.from(await this.ask(request), 'hex')
    return bytes.length === 8 ? bytes.readBigUInt64LE() : 0n
  }

  instruction(): Promise<bigint> {
    return this.word('p10')
  }

  end(): void {
    this.#socket.destroy()
  }
}

/** What a program's or the kernel's addresses are. */
class Symbols {
  readonly #addresses = new Map<string, bigint>()
  readonly #functions: { at: bigint; name: string }[] = []

  constructor(file: string) {
    const text = execFileSync('nm', ['-n', file], { encoding: 'utf8', maxBuffer: 1 << 28 })
    for (const line of text.split('\n')) {
      const [, address, type = '', symbol = ''] = /^([\da-f]+) (\S) (\S+)$/.exec(line) ?? []
      if (!address || symbol.startsWith('__pfx_')) continue
      const at = BigInt(`0x${address}`)
      this.#addresses.set(symbol, at)
      // What the compiler made parts or variants of.
      const name = symbol.replace(/\.(cold|part|isra|constprop)(\.\d+)*/g, '')
      if (/[tTwW]/.test(type)) this.#functions.push({ at, name })
    }
  }

  address(symbol: string): bigint {
    const at = this.#addresses.get(symbol)
    if (at === undefined) throw new Error(`there is no ${symbol}`)
    return at
  }

  /** Of the function that is there; undefined before the first and after the last. */
  name(address: bigint): string | undefined {
    let low = 0
    let high = this.#functions.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#functions[middle]?.at as bigint) <= address) low = middle + 1
      else high = middle
    }
    return high < this.#functions.length ? this.#functions[low - 1]?.name : undefined
  }
}

async function connected(path: string, guest: ChildProcess): Promise<Stub> {
  while (guest.exitCode === null) {
    const socket = connect(path)
    const error = await new Promise((resolve) => {
      socket.once('connect', () => resolve(undefined))
      socket.once('error', resolve)
    })
    if (!error) return new Stub(socket)
    await sleep(100)
  }
  throw new Error(`the guest ended with status ${guest.exitCode}`)
}

const hex = (address: bigint) => address.toString(16)

/** The mark that the guest stands at: where its label is and what it says; nothing if it is the end. */
async function mark(stub: Stub): Promise<{ at: bigint; label: string } | undefined> {
  // The system call's argument is rdi in its struct pt_regs, to which rdi points.
  const at = await stub.word(`m${hex((await stub.word('p5')) + 112n)},8`)
  const text = Buffer.from(await stub.ask(`m${hex(at)},c8`), 'hex').toString('latin1')
  const [, label] = /^profile: ([^\0]*)\0/.exec(text) ?? []
  return label === undefined ? undefined : { at, label }
}

const isUser = (name: string | undefined) => name?.startsWith(user) ?? false
const isFault = (names: string[], i: number) => names[i] === fault && isUser(names[i - 1])

/** Steps to the next mark, or through so many faults and one more: a name for each instruction. */
async function steps(stub: Stub, marker: bigint, name: (at: bigint) => string, faults: number) {
  const names: string[] = []
  let met = 0
  for (;;) {
    await stub.ask('s')
    const at = await stub.instruction()
    if (at === marker) return names
    names.push(name(at))
    if (faults && isFault(names, names.length - 1) && ++met > faults + 1) return names
  }
}

/** Without the ends of the marks; or a fault's share of them, the first left out. */
function count(names: string[], faults: number): Counts {
  const counts: Counts = new Map()
  let [begin, end] = [names.findIndex(isUser), names.findLastIndex(isUser) + 1]
  if (faults) {
    const entries = names.flatMap((_, i) => (isFault(names, i) ? [i] : []))
    begin = entries[1] as number
    end = entries[faults + 1] as number
  }
  for (const name of names.slice(begin, end)) {
    if (name !== `${user}mark`) counts.set(name, (counts.get(name) ?? 0) + 1 / (faults || 1))
  }
  return counts
}

async function step({ command, memory, nth, faults = 0, compared }: Run, kernel: Symbols) {
  const labels = compared.flatMap((c) => c.labels)
  const [name = '', ...args] = command
  const options = ['--cpus', '1', '--memory', memory, '--timeout', '1800']
  const own = new Symbols(program(name))
  const directory = mkdtempSync(join(tmpdir(), 'mshare-bench-'))
  const gdb = join(directory, 'gdb')
  const guest = spawn(process.execPath, [cli, ...options, '--gdb', gdb, program(name), ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const found = new Map<string, Counts>()
  const seen = new Map<string, number>()
  try {
    const stub = await connected(gdb, guest)
    const marker = kernel.address('__x64_sys_getppid')
    await stub.begin()
    await stub.ask(`Z1,${hex(marker)},1`)
    while (found.size < labels.length) {
      await stub.ask('c')
      const { at = 0n, label = '' } = (await mark(stub)) ?? {}
      const times = (seen.get(label) ?? 0) + 1
      seen.set(label, times)
      if (labels.includes(label) && times === nth) {
        const base = at - own.address('mark_label')
        const name = (address: bigint) =>
          address >> 63n
            ? (kernel.name(address) ?? 'unknown')
            : user + (own.name(address - base) ?? 'libc')
        found.set(label, count(await steps(stub, marker, name, faults), faults))
      }
      // Or it would go on no further than the breakpoint it is at.
      if ((await stub.instruction()) === marker) await stub.ask('s')
    }
    stub.end()
  } finally {
    guest.kill()
    rmSync(directory, { recursive: true, force: true })
  }
  return found
}

/** A result for each function: its contender is `TITLE: LABEL: FUNCTION`. */
export async function profile(): Promise<Measurement[]> {
  bootOnce()
  const plan = execFileSync(process.execPath, [cli, '--dry-run', 'true'], { encoding: 'utf8' })
  const kernel = new Symbols(/^kernel: (\S+)/m.exec(plan)?.[1] as string)
  const results: Measurement[] = []
  for (const run of runs) {
    const found = await step(run, kernel)
    for (const { title, labels } of run.compared) {
      for (const label of labels) {
        for (const [name, value] of found.get(label) as Counts) {
          const contender = `${title}: ${label}: ${name}`
          results.push({ id: 'profile', contender, n: 1, round: 0, value, unit: 'instructions' })
        }
      }
    }
  }
  return results
}

/** Side by side; functions that differ by little in one line. */
export function profileTables(results: { contender: string; value: number }[]): string[] {
  const lines: string[] = []
  for (const { title, labels } of runs.flatMap((r) => r.compared)) {
    const functions = new Map<string, [number, number]>()
    labels.forEach((label, side) => {
      const head = `${title}: ${label}: `
      for (const { contender, value } of results) {
        if (!contender.startsWith(head)) continue
        const name = contender.slice(head.length)
        const both = functions.get(name) ?? [0, 0]
        both[side] = value
        functions.set(name, both)
      }
    })
    const rows = [...functions].map(([name, [a, b]]) => ({ name, a, b }))
    const sum = (name: string, of: typeof rows) => ({
      name,
      a: of.reduce((total, r) => total + r.a, 0),
      b: of.reduce((total, r) => total + r.b, 0),
    })
    const few = rows.filter(({ a, b }) => Math.abs(a - b) < 12)
    const shown = rows.filter((r) => !few.includes(r)).sort((x, y) => y.a - y.b - (x.a - x.b))
    lines.push(
      `### ${title}`,
      '',
      `| function | ${labels.join(' | ')} | more |`,
      '|---|---:|---:|---:|',
    )
    for (const { name, a, b } of [
      ...shown,
      sum(`${few.length} others`, few),
      sum('**all**', rows),
    ]) {
      const code = /^[*\d]/.test(name) ? name : `\`${name}\``
      lines.push(`| ${code} | ${Math.round(a)} | ${Math.round(b)} | ${Math.round(a - b)} |`)
    }
    lines.push('')
  }
  return lines
}
