// SPDX-License-Identifier: MIT
//
// mshare top: the regions, again and again.

import { report, sentence } from './errors.js'
import type { Output } from './output.js'
import { nameAndState } from './queries.js'
import { place, type Seen, survey } from './regions.js'
import { formatBytes, plural, printable, table, toJson } from './text.js'

export interface Frame {
  time: string
  root: string
  backend: 'msharefs' | 'shm'
  regions: Seen[]
  totals: {
    regions: number
    attachments: number
    resident: number
    pageTableBytes: number
    unsharedPageTableBytes: number
  }
  /** What taking this frame has cost. */
  cpuMilliseconds: number
}

const keys = ['resident', 'attachments', 'tables', 'name'] as const
export type SortKey = (typeof keys)[number]
export const sortKeys: readonly string[] = keys

/** On msharefs, what the shared tables are; on shm, of which every attacher has its own, what all are. */
export const tablesOf = ({ pageTableBytes, unsharedPageTableBytes }: Seen) =>
  pageTableBytes ?? unsharedPageTableBytes

const orders: Record<SortKey, (a: Seen, b: Seen) => number> = {
  resident: (a, b) => b.resident - a.resident,
  attachments: (a, b) => b.attachments - a.attachments,
  tables: (a, b) => tablesOf(b) - tablesOf(a),
  // As they come.
  name: () => 0,
}

export function takeFrame(sort: SortKey): Frame {
  const before = process.cpuUsage()
  const { root, backend } = place()
  const regions = survey().sort(orders[sort])
  const sum = (of: (region: Seen) => number) => regions.reduce((all, one) => all + of(one), 0)
  const totals = {
    regions: regions.length,
    attachments: sum(({ attachments }) => attachments),
    resident: sum(({ resident }) => resident),
    pageTableBytes: sum(tablesOf),
    unsharedPageTableBytes: sum(({ unsharedPageTableBytes }) => unsharedPageTableBytes),
  }
  const { user, system } = process.cpuUsage(before)
  const cpuMilliseconds = Math.round((user + system) / 100) / 10
  return { time: new Date().toISOString(), root, backend, regions, totals, cpuMilliseconds }
}

const heads = ['ATTACHED', 'MAPPED', 'RESIDENT', 'TABLES', 'UNSHARED', 'NAME']
/** That much of a name is to be seen, whatever else there is no room for. */
const NAME_ROOM = 16

/**
 * Two lines on all of them, an empty one, the heads of columns, and one line for each region. What
 * does not fit in so many columns of a terminal goes: the numbers from the right, never the names.
 */
export function frameLines(
  { root, backend, regions, totals }: Frame,
  columns = Number.POSITIVE_INFINITY,
): string[] {
  const { attachments, resident, pageTableBytes, unsharedPageTableBytes } = totals
  const most = backend === 'shm' ? 'at most ' : ''
  const rows = regions.map((region) => {
    const numbers = [
      `${region.attachments}`,
      formatBytes(region.mapped),
      formatBytes(region.resident),
      formatBytes(tablesOf(region)),
      formatBytes(region.unsharedPageTableBytes),
    ]
    return [...(region.state === 'ready' ? numbers : numbers.map(() => '-')), nameAndState(region)]
  })
  const cells = [heads, ...rows]
  const room = Math.min(NAME_ROOM, Math.max(...cells.map((row) => row.at(-1)?.length ?? 0)))
  const names = (line: string) => line.length - 'NAME'.length + room
  let lines = table(cells)
  while (names(lines[0] as string) > columns && cells[0]?.length !== 1) {
    for (const [i, row] of cells.entries()) cells[i] = row.toSpliced(-2, 1)
    lines = table(cells)
  }
  return [
    `${plural(totals.regions, 'region')}, ${plural(attachments, 'attachment')}, ` +
      `${formatBytes(resident)} resident, in ${printable(root)} (${backend})`,
    `page tables ${most}${formatBytes(pageTableBytes)}; unshared at most ` +
      formatBytes(unsharedPageTableBytes),
    '',
    ...lines,
  ]
}

export interface TopOptions {
  interval: number
  /** How many frames; default: for ever in a terminal, one elsewhere. */
  count?: number
  sort: SortKey
}

export async function top(output: Output, options: TopOptions): Promise<void> {
  const { interval, sort, count } = options
  if (output.terminal && !output.json) {
    await new Screen(output, options).run()
    return
  }
  for (let i = 0; i < (count ?? 1); i++) {
    if (i > 0) await new Promise((resolve) => setTimeout(resolve, interval * 1000))
    const frame = takeFrame(sort)
    const text = output.json ? toJson(frame) : frameLines(frame).join('\n')
    output.streams.stdout.write(`${i > 0 && !output.json ? '\n' : ''}${text}\n`)
  }
}

// The terminal's other screen, no cursor, and lines that are cut rather than wrapped.
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l'
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l'
const HOME = '\x1b[H'
const CLEAR_LINE = '\x1b[2K'

const HEAD = 4
const help = 'q quit  sort: r resident, a attached, t tables, n name'

class Screen {
  readonly #output: Output
  readonly #interval: number
  readonly #left: { frames: number }
  #sort: SortKey
  #lines: (columns: number) => string[] = () => []
  #offset = 0
  #timer: NodeJS.Timeout | undefined
  #done: () => void = () => {}

  constructor(output: Output, { interval, sort, count }: TopOptions) {
    this.#output = output
    this.#interval = interval
    this.#left = { frames: count ?? Number.POSITIVE_INFINITY }
    this.#sort = sort
  }

  async run(): Promise<void> {
    const { stdin, stdout } = this.#output.streams
    const ends = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const
    const onSignal = (signal: NodeJS.Signals) => {
      restore()
      // What it would have done without us.
      process.kill(process.pid, signal)
    }
    const onContinue = () => {
      this.#enter()
      this.#draw()
    }
    const onStop = () => {
      this.#leave()
      // All of the job, as the terminal would; this returns when it has been continued.
      process.off('SIGTSTP', onStop)
      process.kill(0, 'SIGTSTP')
      process.on('SIGTSTP', onStop)
      onContinue()
    }
    const onResize = () => this.#draw()
    const onKeys = (data: Buffer | string) => this.#key(data.toString(), onStop)
    let restored = false
    const restore = () => {
      if (restored) return
      restored = true
      clearTimeout(this.#timer)
      for (const signal of ends) process.off(signal, onSignal)
      process.off('SIGCONT', onContinue)
      process.off('SIGTSTP', onStop)
      process.off('exit', restore)
      stdout.off('resize', onResize)
      stdin.off('data', onKeys)
      stdin.pause()
      this.#leave()
    }

    for (const signal of ends) process.on(signal, onSignal)
    process.on('SIGCONT', onContinue)
    process.on('SIGTSTP', onStop)
    // An error that nobody has caught goes this way, too.
    process.on('exit', restore)
    stdout.on('resize', onResize)
    if (stdin.isTTY) stdin.on('data', onKeys)
    try {
      this.#enter()
      await new Promise<void>((resolve) => {
        this.#done = resolve
        this.#refresh()
      })
    } finally {
      restore()
    }
  }

  #enter(): void {
    const { stdin, stdout } = this.#output.streams
    if (stdin.isTTY) stdin.setRawMode?.(true)
    stdout.write(ENTER)
  }

  #leave(): void {
    const { stdin, stdout } = this.#output.streams
    stdout.write(LEAVE)
    if (stdin.isTTY) stdin.setRawMode?.(false)
  }

  #refresh(): void {
    clearTimeout(this.#timer)
    try {
      const frame = takeFrame(this.#sort)
      this.#lines = (columns) => frameLines(frame, columns)
    } catch (error) {
      // The root may come back.
      const told = report(error, 'top')
      if (!told) throw error
      this.#lines = () => [sentence(told), '', '', '']
    }
    this.#draw()
    if (--this.#left.frames <= 0) this.#done()
    else this.#timer = setTimeout(() => this.#refresh(), this.#interval * 1000)
  }

  #draw(): void {
    const { stdout } = this.#output.streams
    const rows = stdout.rows ?? 24
    const columns = stdout.columns ?? 80
    const all = this.#lines(columns)
    const [head, regions] = [all.slice(0, HEAD), all.slice(HEAD)]
    const room = Math.max(rows - HEAD - 1, 0)
    this.#offset = Math.max(Math.min(this.#offset, regions.length - room), 0)
    const shown = regions.slice(this.#offset, this.#offset + room)
    const lines = [...head, ...shown].slice(0, rows - 1)
    while (lines.length < rows - 1) lines.push('')
    lines.push(this.#footer(regions.length, shown.length))
    const text = lines.map((line, i) => {
      const cut = [...line].slice(0, columns).join('')
      // Before the text: behind it the cursor may be on the last column, which would go as well.
      return CLEAR_LINE + (i === HEAD - 1 ? this.#output.paint(7, cut.padEnd(columns)) : cut)
    })
    stdout.write(HOME + text.join('\r\n'))
  }

  #footer(all: number, shown: number): string {
    const part = shown < all ? `${this.#offset + 1} to ${this.#offset + shown} of ${all}  ` : ''
    return part + help
  }

  #key(data: string, stop: () => void): void {
    const page = Math.max((this.#output.streams.stdout.rows ?? 24) - HEAD - 1, 1)
    const moves: Record<string, number> = {
      ...{ '\x1b[A': -1, '\x1bOA': -1, k: -1, '\x1b[B': 1, '\x1bOB': 1, j: 1 },
      ...{ '\x1b[5~': -page, '\x1b[6~': page, ' ': page },
      ...{ '\x1b[H': -(2 ** 31), '\x1b[1~': -(2 ** 31), '\x1b[F': 2 ** 31, '\x1b[4~': 2 ** 31 },
    }
    const sorts: Record<string, SortKey> = {
      r: 'resident',
      a: 'attachments',
      t: 'tables',
      n: 'name',
    }
    // Keys may come several at a time.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what keys send
    for (const [key] of data.matchAll(/\x1b(?:\[[\d;]*[A-Za-z~]|O[A-Z])|[\s\S]/gu)) {
      if (key === 'q' || key === 'Q') this.#done()
      // Raw mode makes keys of these.
      else if (key === '\x03') process.kill(process.pid, 'SIGINT')
      else if (key === '\x1c') process.kill(process.pid, 'SIGQUIT')
      else if (key === '\x1a') stop()
      else if (moves[key] !== undefined) this.#scroll(moves[key])
      else if (sorts[key]) {
        this.#sort = sorts[key]
        this.#offset = 0
        this.#refresh()
      }
    }
  }

  #scroll(by: number): void {
    this.#offset += by
    this.#draw()
  }
}
