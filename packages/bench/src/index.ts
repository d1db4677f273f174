// SPDX-License-Identifier: MIT
/**
 * `npm run bench [-- ROW… --json --quick]`: what shared/design/bench.md asks, each row
 * beside its contender in the same run, rounds interleaved.
 *
 * Rows, by the page of docs/benchmarks that they are on:
 *   shm, the back end of any kernel: B9 (a change reaches K attachers), B10 (TypeScript loops over
 *     shared memory), attach (time against mappings), window (memory against size);
 *   kernel, in a guest: B1 (page tables), B2 (faults), B3 (the first touch of a page), B4 (touching
 *     what a peer has touched), B5 (a change that K attachers see), B6 (attach and detach), B7
 *     (fork), hooks (what others pay);
 *   profile, in a guest: profile (where the instructions of B3, B5 and B6 go, by function);
 *   servers, in a guest: B8 (PostgreSQL under the preload shim);
 *   ffi: B11 (calls of C from TypeScript).
 * Writes docs/benchmarks/PAGE.json and PAGE.md, and their pictures, unless only some rows of the page
 * were asked for, or --quick. --json prints a line a result: `limit` is what the contender beside it takes, or
 * what cannot be had for less, `target` the most that the value may be, `met` whether it is.
 * --quick: fewer rounds, processes and pages, and no profile; five minutes for all.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { fileURLToPath } from 'node:url'
import { ffi } from './ffi.js'
import {
  calls,
  counts,
  kernels,
  NoGuest,
  postgres,
  region,
  servers,
  spread as spreading,
  touch,
} from './guest.js'
import { loops } from './loops.js'
import { type Measurement, median, spread } from './measurement.js'
import { type Picture, svg } from './pictures.js'
import { profile, profileTables } from './profile.js'

/** Of a ratio, if there is a contender to compare with, or of the value itself. */
interface Target {
  of: RegExp
  /** In place of what matches `of`: the name of that contender. */
  to?: string
  most?: number | ((n: number) => number | undefined)
  /** What cannot be had for less. */
  limit?: (n: number) => number
}

interface Row {
  id: string
  page: keyof typeof pages
  title: string
  /** The first one that a contender matches is for it. */
  targets?: Target[]
  pictures?: Picture[]
  /** Instead of a line for each result. */
  tables?(results: Result[]): string[]
  /** Of values, and more of ratios; none. */
  decimals?: number
  run(quick: boolean): Measurement[] | Promise<Measurement[]>
}

const args = process.argv.slice(2)
const json = args.includes('--json')
const quick = args.includes('--quick')

const medians = 'Medians of the rounds, lowest to highest behind them; contenders interleaved'

const pages = {
  shm: {
    title: 'The shm back end, measured',
    where: () => `on Linux ${os.release()}`,
    how: `${medians} in one run.`,
  },
  kernel: {
    title: 'msharefs, measured',
    where: () => `${kernels()} in guests (QEMU TCG), on Linux ${os.release()}`,
    how: [
      `${medians} in a`,
      'boot, and kernels one after the other. Where instructions are counted, it is by the clock of the',
      'guest (`-icount`): of one processor, and where attachers are running, of four in turns. Page tables',
      'and faults are counted by the kernel, of four processors.',
    ].join('\n'),
  },
  profile: {
    title: 'Where instructions go',
    where: () => `${kernels()} in guests (QEMU TCG), on Linux ${os.release()}`,
    how: [
      'Stepped through, one instruction at a time, by way of the GDB stub of QEMU; one processor, and no',
      'interrupts meanwhile. What is shown is one pass of the programs that other rows are measured with,',
      '`user:` what is not the kernel.',
    ].join('\n'),
  },
  servers: {
    title: 'An unmodified server under the preload shim, measured',
    where: () => `${kernels()} in a guest (QEMU TCG, -icount), on Linux ${os.release()}`,
    how: [
      `${medians} in one`,
      'boot. The clock of the guest, which has one processor, counts instructions: 1,000 are a µs. Faults are',
      "those of the scans; page tables for the buffers, what the scans have added to the backends' own, and",
      'the one set that all of them share, if they do.',
    ].join('\n'),
  },
  ffi: {
    title: 'Calls of C from TypeScript, measured',
    where: () => `on Linux ${os.release()}`,
    how: `${medians}.`,
  },
}

const root = fileURLToPath(new URL('../../../', import.meta.url))

function program(name: string, ...args: number[]): Measurement[] {
  const path = fileURLToPath(new URL(`../build/${name}`, import.meta.url))
  const text = execFileSync(path, args.map(String), { encoding: 'utf8' })
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Measurement)
}

const named = (name: string, measured: Measurement[]) =>
  measured.map((m) => ({ ...m, contender: `${name}: ${m.contender}` }))

const attach = (quick: boolean) => program('attach', quick ? 3 : 9)

const { mib } = region(quick)
const size = mib * 1024 ** 2
const amount = mib >= 1024 ? `${mib / 1024} GiB` : `${mib} MiB`

/** All but parts of a sum. */
const whole = ({ contender }: { contender: string }) =>
  contender.includes(':') || contender.includes('at once') ? undefined : contender

const rows: Row[] = [
  {
    id: 'B9',
    page: 'shm',
    title: 'A map of one page becomes visible in n attached processes',
    targets: [{ of: /^shm/, to: 'bare loop', most: 2 }],
    run: (quick) =>
      [1, 8, 64].flatMap((n) => program('change', n, quick ? 5 : 11, quick ? 50 : 200)),
  },
  {
    id: 'B10',
    page: 'shm',
    title: 'A TypeScript loop over n elements of shared memory',
    targets: [{ of: /^attachment/, to: 'SharedArrayBuffer', most: 1.05 }],
    run: loops,
  },
  {
    id: 'attach',
    page: 'shm',
    title: 'Attach and detach a region of n mappings',
    run: (quick) => attach(quick).filter((m) => m.id === 'attach'),
  },
  {
    id: 'window',
    page: 'shm',
    title: 'Memory that a region with a window of n GiB and one touched page takes',
    run: (quick) => attach(quick).filter((m) => m.id === 'window'),
  },
  {
    id: 'B1',
    page: 'kernel',
    title: `Page tables of ${amount} in small pages that n processes have touched`,
    targets: [
      {
        of: /^msharefs: the region's own/,
        most: size / 512 + 16384,
        limit: () => size / 512 + 8192,
      },
      { of: /^msharefs: the processes'/, most: (n) => 16384 * n },
      { of: /^msharefs/, to: 'memfd' },
    ],
    pictures: [
      {
        file: 'page-tables.svg',
        title: `Page tables of ${amount} that processes share`,
        x: 'processes',
        y: 'bytes of page tables',
        line: whole,
      },
    ],
    run: (quick) => counts('B1', quick),
  },
  {
    id: 'B2',
    page: 'kernel',
    title: `Page faults of n processes that touch ${amount}, filled by another`,
    targets: [
      { of: /^msharefs, empty, at once/, to: 'threads, empty, at once', most: 1.05 },
      { of: /^msharefs/, most: (n) => 2 * n, limit: (n) => n },
    ],
    pictures: [
      {
        file: 'faults.svg',
        title: `Page faults of processes that touch ${amount}, filled by another`,
        x: 'processes',
        y: 'page faults, of all together',
        line: whole,
      },
    ],
    run: (quick) => counts('B2', quick),
  },
  {
    id: 'B3',
    page: 'kernel',
    title: 'The first touch of each of n pages',
    targets: [{ of: /^msharefs/, to: 'memfd', most: 1.1 }],
    decimals: 1,
    run: (quick) => touch('test', quick),
  },
  {
    id: 'B4',
    page: 'kernel',
    title: 'Reading a word of each of n pages that a peer has touched',
    targets: [{ of: /^msharefs/, to: 'threads', most: 1.01 }],
    decimals: 3,
    run: (quick) => calls('B4', quick),
  },
  {
    id: 'B5',
    page: 'kernel',
    title: 'A change that n attached processes, or threads, are to see',
    targets: [
      { of: /^interrupts: msharefs.*idle$/, most: 0 },
      { of: /^msharefs( by ioctl)?/, to: 'threads', most: 1.3 },
    ],
    pictures: [
      {
        file: 'changes.svg',
        title: 'A change that attached processes, or threads, are to see',
        x: 'processes or threads',
        y: 'instructions',
        line: ({ contender }) =>
          /^(msharefs|threads), (\w+ 1 page|protect 64 pages), idle$/.test(contender)
            ? contender.replace(', idle', '')
            : undefined,
      },
    ],
    run: spreading,
  },
  {
    id: 'B6',
    page: 'kernel',
    title: 'Attach, first access and detach; or mmap, first access and munmap',
    targets: [
      { of: /^msharefs, 1 page$/, to: 'memfd, 1 page', most: 3 },
      { of: /^msharefs, .*/, to: 'msharefs, 1 page', most: 1.05 },
    ],
    run: (quick) => calls('B6', quick),
  },
  {
    id: 'B7',
    page: 'kernel',
    title: 'fork, exit and wait of a process that has memory attached',
    targets: [
      { of: /^msharefs/, to: 'nothing attached', most: 1.05 },
      { of: /^memfd/, to: 'nothing attached' },
    ],
    run: (quick) => calls('B7', quick),
  },
  {
    id: 'B8',
    page: 'servers',
    title: `PostgreSQL, n backends that read ${postgres(quick).mib} MiB of its buffers`,
    targets: [
      // Of so many that one set for all is less than that.
      {
        of: /^mshare-run(?=: page tables for)/,
        to: 'libc',
        most: (n) => (n >= 100 ? 1 / 50 : undefined),
      },
      { of: /^mshare-run(?=: faults)/, to: 'libc', most: 1 / 5 },
      { of: /^mshare-run(?=: pgbench)/, to: 'libc', most: 1 },
      { of: /^mshare-run/, to: 'libc' },
    ],
    run: servers,
  },
  {
    id: 'hooks',
    page: 'kernel',
    title: 'The first touch of each of n pages that have nothing to do with msharefs',
    targets: [{ of: /^with msharefs/, to: 'without', most: 1.005 }],
    decimals: 1,
    run: (quick) => [
      ...named('without', touch('stock', quick)),
      ...named(
        'with msharefs',
        touch('test', quick).filter((m) => !m.contender.startsWith('msharefs')),
      ),
    ],
  },
  {
    id: 'profile',
    page: 'profile',
    title: 'Functions and their instructions',
    tables: profileTables,
    run: profile,
  },
  {
    id: 'B11',
    page: 'ffi',
    title: 'Calls of C through the FFI drivers',
    targets: [
      { of: /^koffi, call/, most: 1000 },
      { of: /^ffi-napi, call/, most: 2000 },
      { of: /^(koffi|ffi-napi), map/, to: 'C, map' },
    ],
    run: ffi,
  },
]

interface Result {
  id: string
  contender: string
  n: number
  value: number
  /** Lowest and highest round. */
  spread: [number, number]
  unit: string
  /** value / that of the contender beside it */
  ratio?: number
  /** The ratio that would be the target. */
  most?: number
  /** What the contender beside it takes, or what cannot be had for less. */
  limit?: number
  /** The most that the value may be. */
  target?: number
  met?: boolean
}

function summarise(row: Row, measured: Measurement[]): Result[] {
  const groups = new Map<string, Measurement[]>()
  for (const m of measured) {
    const key = `${m.contender}\n${m.n}`
    groups.set(key, [...(groups.get(key) ?? []), m])
  }
  const results = [...groups.values()].map((group): Result => {
    const values = group.map((m) => m.value)
    const first = group[0] as Measurement
    return {
      id: row.id,
      contender: first.contender,
      n: first.n,
      value: median(values),
      spread: spread(values),
      unit: first.unit,
    }
  })
  for (const result of results) judge(result, row, results)
  return results
}

function judge(result: Result, row: Row, results: Result[]): void {
  const target = row.targets?.find(({ of }) => of.test(result.contender))
  if (!target) return
  const { of, to, limit, most } = target
  const bound = typeof most === 'function' ? most(result.n) : most
  if (to === undefined) {
    if (limit) result.limit = limit(result.n)
    if (bound !== undefined) result.target = bound
  } else {
    const other = result.contender.replace(of, to)
    const against = results.find((r) => r.contender === other && r.n === result.n)
    if (!against || against === result) return
    result.limit = against.value
    result.ratio = result.value / against.value
    if (bound !== undefined) {
      result.most = bound
      result.target = bound * against.value
    }
  }
  if (result.target !== undefined) result.met = result.value <= result.target
}

const figure = (value: number, decimals = 0) =>
  value.toLocaleString('en-US', {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  })

function markdown(page: keyof typeof pages, results: Result[], command: string): string {
  const { title, where, how } = pages[page]
  const cpu = os.cpus()[0]?.model.trim() ?? 'unknown processor'
  const lines = [
    `# ${title}`,
    '',
    `By \`${command}\`, ${where()}, ${os.cpus().length} × ${cpu}, Node ${process.version}.`,
    how,
    '',
  ]
  for (const row of rows.filter((r) => r.page === page)) {
    const own = results.filter((r) => r.id === row.id)
    if (own.length === 0) continue
    lines.push(`## ${row.id}: ${row.title}`, '')
    if (row.tables) {
      lines.push(...row.tables(own))
      continue
    }
    lines.push('| n | contender | median | rounds | unit | ratio | target |')
    lines.push('|---:|---|---:|---|---|---:|---|')
    for (const r of own) {
      const value = (v: number) => figure(v, row.decimals)
      const ratio = r.ratio === undefined ? '' : r.ratio.toFixed(row.decimals ? 4 : 2)
      const most = r.most === undefined ? value(r.target ?? 0) : `${r.most} ×`
      const target = r.target === undefined ? '' : `≤ ${most}: ${r.met ? 'met' : '**missed**'}`
      lines.push(
        `| ${figure(r.n)} | ${r.contender} | ${value(r.value)} | ${r.spread.map(value).join(' … ')} | ${r.unit} | ${ratio} | ${target} |`,
      )
    }
    lines.push('')
    for (const { file, title } of row.pictures ?? []) lines.push(`![${title}](${file})`, '')
  }
  return lines.join('\n')
}

const wanted = args.filter((a) => !a.startsWith('--'))
const unknown = [
  ...wanted.filter((id) => !rows.some((row) => row.id === id)),
  ...args.filter((a) => a.startsWith('--') && a !== '--json' && a !== '--quick'),
]
if (unknown.length > 0) {
  console.error(
    `bench: unknown: ${unknown.join(' ')}. Rows: ${rows.map((r) => r.id).join(' ')}; options: --json --quick`,
  )
  process.exit(2)
}

const results: Result[] = []
// A profile explains what is known: not part of a quick look.
const selected =
  wanted.length > 0 ? wanted : rows.map((r) => r.id).filter((id) => !quick || id !== 'profile')
for (const row of rows.filter((r) => selected.includes(r.id))) {
  process.stderr.write(`${row.id}: ${row.title} …\n`)
  let measured: Measurement[]
  try {
    measured = await row.run(quick)
  } catch (error) {
    if (!(error instanceof NoGuest)) throw error
    console.error(`${row.id}: left out: ${error.message}`)
    continue
  }
  const summary = summarise(row, measured)
  results.push(...summary)
  if (json) for (const result of summary) console.log(JSON.stringify(result))
}
const command = ['npm run bench', ...(args.length ? ['--', ...args] : [])].join(' ')
for (const name of Object.keys(pages) as (keyof typeof pages)[]) {
  const own = results.filter((r) => rows.find((row) => row.id === r.id)?.page === name)
  if (own.length === 0) continue
  const page = markdown(name, own, command)
  if (!json) console.log(page)
  // A part of a page is not the page, nor is less of everything.
  if (quick) continue
  if (rows.some((row) => row.page === name && !results.some((r) => r.id === row.id))) continue
  const directory = `${root}docs/benchmarks`
  mkdirSync(directory, { recursive: true })
  writeFileSync(`${directory}/${name}.md`, `${page}\n`)
  writeFileSync(`${directory}/${name}.json`, `${JSON.stringify(own, null, 2)}\n`)
  for (const row of rows.filter((r) => r.page === name)) {
    const points = own.filter((r) => r.id === row.id)
    for (const picture of row.pictures ?? [])
      writeFileSync(`${directory}/${picture.file}`, await svg(picture, points))
  }
}
