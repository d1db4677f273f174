// SPDX-License-Identifier: MIT
/** What is measured in a guest, whose clock can count instructions. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Measurement } from './measurement.js'

export const cli = fileURLToPath(new URL('../../vm/dist/cli.js', import.meta.url))
const script = fileURLToPath(new URL('../../../scripts/servers.sh', import.meta.url))
export const program = (name: string) => fileURLToPath(new URL(`../build/${name}`, import.meta.url))

interface Guest {
  kernel: 'test' | 'stock'
  cpus: number
  memory: string
  /** Its clock counts instructions. */
  icount: boolean
}

/** There is no QEMU here, or no kernel. */
export class NoGuest extends Error {}

const releases = new Set<string>()
export const kernels = () => [...releases].join(' and ')

/** Boots, and runs lines of a shell; what they print is measurements. */
function boot({ kernel, cpus, memory, icount }: Guest, lines: string[]): Measurement[] {
  const options = ['--kernel', kernel, '--cpus', `${cpus}`, '--memory', memory]
  const { status, stdout, error } = spawnSync(
    process.execPath,
    [
      ...[cli, ...options, ...(icount ? ['--icount'] : []), '--timeout', '3600'],
      ...['sh', '-ec', ['uname -r', ...lines].join('\n')],
    ],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 26 },
  )
  if (error) throw error
  if (status === 122) throw new NoGuest('there is no guest')
  if (status !== 0) throw new Error(`the guest ended with status ${status}`)
  const [release = '', ...results] = stdout.trim().split('\n')
  releases.add(release)
  return results.map((line) => JSON.parse(line) as Measurement)
}

const measured = new Map<string, Measurement[]>()

/** Once for all rows that want it. */
function once(name: string, measure: () => Measurement[]): Measurement[] {
  const results = measured.get(name) ?? measure()
  measured.set(name, results)
  return results
}

/** Whether there are guests here, and of which kernel. */
export const bootOnce = () => boot({ ...counting, memory: '512M' }, [])

const of = (id: string, measured: Measurement[]) => measured.filter((m) => m.id === id)

const counting = { kernel: 'test', cpus: 1, icount: true } as const

export function touch(kernel: Guest['kernel'], quick: boolean): Measurement[] {
  return once(`touch, ${kernel}`, () => {
    const results: Measurement[] = []
    for (let i = 0; i < (quick ? 1 : 3); i++) {
      const lines = [`${program('touch')} ${quick ? 2 : 7}`]
      results.push(...boot({ ...counting, kernel, memory: '1G' }, lines))
    }
    return results
  })
}

/** How much memory the rows B1 and B2 are about, MiB, and who comes to it. */
export const region = (quick: boolean) =>
  quick
    ? { mib: 64, atOnce: 8, processes: [1, 8, 64] }
    : { mib: 1024, atOnce: 64, processes: [1, 8, 64, 256] }

export function counts(id: 'B1' | 'B2', quick: boolean): Measurement[] {
  const { mib, atOnce, processes } = region(quick)
  const line = [program('region'), quick ? 1 : 2, mib, atOnce, ...processes].join(' ')
  const guest = { kernel: 'test', cpus: 4, memory: quick ? '2G' : '8G', icount: false } as const
  return of(
    id,
    once('region', () => boot(guest, [line])),
  )
}

export function calls(id: 'B4' | 'B6' | 'B7', quick: boolean): Measurement[] {
  const lines = [`${program('calls')} ${quick ? 2 : 7} ${quick ? 512 : 1024}`]
  return of(
    id,
    once('calls', () => boot({ ...counting, memory: quick ? '4G' : '6G' }, lines)),
  )
}

/** How much of its buffers PostgreSQL's backends read, MiB, and how many they are. */
export const postgres = (quick: boolean) =>
  quick ? { mib: 32, backends: [10] } : { mib: 512, backends: [1, 20, 100] }

export function servers(quick: boolean): Measurement[] {
  const { mib, backends } = postgres(quick)
  const line = ['bash', script, 'bench', quick ? 1 : 3, mib, ...backends].join(' ')
  return boot({ ...counting, memory: '6G' }, [line])
}

export function spread(quick: boolean): Measurement[] {
  const attachers = quick ? [1, 64] : [1, 2, 8, 64]
  const lines = (most: number, ...how: string[]) =>
    how.map((h) => [program('spread'), quick ? 1 : 7, most, h, ...attachers].join(' '))
  const one = boot({ ...counting, memory: '1G' }, lines(quick ? 64 : 16384, 'idle'))
  const several = boot({ ...counting, cpus: 4, memory: '1G' }, lines(64, 'idle', 'running'))
  return [...one, ...several, ...slopes([...one, ...several], attachers)]
}

/** What each attacher adds, from the fewest to the most. */
function slopes(measured: Measurement[], attachers: number[]): Measurement[] {
  const [least = 1, most = 1] = [attachers.at(0), attachers.at(-1)]
  return measured
    .filter((m) => m.n === most && m.unit === 'instructions')
    .map((m) => {
      const first = measured.find(
        (f) => f.n === least && f.contender === m.contender && f.round === m.round,
      ) as Measurement
      return {
        ...m,
        contender: `each further: ${m.contender}`,
        value: (m.value - first.value) / (most - least),
        unit: 'instructions/attacher',
      }
    })
}
