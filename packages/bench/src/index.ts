// SPDX-License-Identifier: MIT
/**
 * `npm run bench [-- ROW… --json --quick]`: what shared/design/bench.md asks, each row
 * beside its contender in the same run, rounds interleaved.
 *
 * Rows: of the shm back end B9 (a change reaches K attachers), B10 (TypeScript loops
 * over shared memory), attach (time against mappings), window (memory against size);
 * of the kernel, in a guest, B3 (the first touch of a page), hooks (what others pay).
 * Writes docs/benchmarks/PAGE.json and PAGE.md unless only some rows were asked for.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { fileURLToPath } from 'node:url'
import { kernels, NoGuest, touch } from './guest.js'
import { loops } from './loops.js'
import { type Measurement, median, spread } from './measurement.js'

interface Row {
  id: string
  page: keyof typeof pages
  title: string
  /** What the ratio is of, and the limit it has, if the row has a target. */
  ratio?: { of: string; to: string; limit: number }
  /** Of values, and more of ratios; none. */
  decimals?: number
  run(quick: boolean): Measurement[] | Promise<Measurement[]>
}

const pages = {
  shm: {
    title: 'The shm back end, measured',
    where: () => `on Linux ${os.release()}`,
    how: 'Medians of the rounds, lowest to highest behind them; contenders interleaved in one run.',
  },
  kernel: {
    title: 'msharefs, measured',
    where: () =>
      `${kernels()} in a guest (QEMU TCG with -icount, one processor), on Linux ${os.release()}`,
    how: [
      'Medians of the rounds, of some boots, lowest to highest behind them; contenders interleaved in a',
      'boot, and kernels one after the other. The clock of the guest counts instructions.',
    ].join('\n'),
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

const rows: Row[] = [
  {
    id: 'B9',
    page: 'shm',
    title: 'A map of one page becomes visible in n attached processes',
    ratio: { of: 'shm', to: 'bare loop', limit: 2 },
    run: (quick) =>
      [1, 8, 64].flatMap((n) => program('change', n, quick ? 5 : 11, quick ? 50 : 200)),
  },
  {
    id: 'B10',
    page: 'shm',
    title: 'A TypeScript loop over n elements of shared memory',
    ratio: { of: 'attachment', to: 'SharedArrayBuffer', limit: 1.05 },
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
    id: 'B3',
    page: 'kernel',
    title: 'The first touch of each of n pages',
    ratio: { of: 'msharefs', to: 'memfd', limit: 1.1 },
    decimals: 1,
    run: (quick) => touch('test', quick),
  },
  {
    id: 'hooks',
    page: 'kernel',
    title: 'The first touch of each of n pages that have nothing to do with msharefs',
    ratio: { of: 'with msharefs', to: 'without', limit: 1.005 },
    decimals: 1,
    run: (quick) => [
      ...named('without', touch('stock', quick)),
      ...named(
        'with msharefs',
        touch('test', quick).filter((m) => !m.contender.startsWith('msharefs')),
      ),
    ],
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
  /** value / the contender's, for the one that has a target */
  ratio?: number
  limit?: number
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
  for (const result of results) {
    const { ratio } = row
    if (!ratio || !result.contender.startsWith(ratio.of)) continue
    const other = result.contender.replace(ratio.of, ratio.to)
    const against = results.find((r) => r.contender === other && r.n === result.n)
    if (!against) continue
    result.ratio = result.value / against.value
    result.limit = ratio.limit
    result.met = result.ratio <= ratio.limit
  }
  return results
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
    lines.push('| n | contender | median | rounds | unit | ratio | target |')
    lines.push('|---:|---|---:|---|---|---:|---|')
    for (const r of own) {
      const value = (v: number) => figure(v, row.decimals)
      const ratio = r.ratio === undefined ? '' : r.ratio.toFixed(row.decimals ? 4 : 2)
      const target = r.limit === undefined ? '' : `≤ ${r.limit}: ${r.met ? 'met' : '**missed**'}`
      lines.push(
        `| ${figure(r.n)} | ${r.contender} | ${value(r.value)} | ${r.spread.map(value).join(' … ')} | ${r.unit} | ${ratio} | ${target} |`,
      )
    }
    lines.push('')
  }
  return lines.join('\n')
}

const args = process.argv.slice(2)
const json = args.includes('--json')
const quick = args.includes('--quick')
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
for (const row of rows.filter((r) => wanted.length === 0 || wanted.includes(r.id))) {
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
  // A part of a page is not the page.
  if (rows.some((row) => row.page === name && !results.some((r) => r.id === row.id))) continue
  const directory = `${root}docs/benchmarks`
  mkdirSync(directory, { recursive: true })
  writeFileSync(`${directory}/${name}.md`, `${page}\n`)
  writeFileSync(`${directory}/${name}.json`, `${JSON.stringify(own, null, 2)}\n`)
}
