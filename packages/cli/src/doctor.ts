// SPDX-License-Identifier: MIT
//
// mshare doctor: what there is, and what to do about what is not. It tries things rather than
// reading versions, wherever that is possible.

import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, readdirSync, readFileSync, statfsSync } from 'node:fs'
import os from 'node:os'
import { fileURLToPath } from 'node:url'
import { type Probe, Region, setDriver } from '@mshare/core'
import { DONE, FAILED, report } from './errors.js'
import type { Output } from './output.js'
import { users } from './processes.js'
import { survey } from './regions.js'
import { findRunner } from './run.js'
import { formatBytes, plural, printable } from './text.js'

/** `note`: all works, and more could. `fail`: something does not. Both have a remedy. */
export interface Check {
  name: string
  status: 'ok' | 'note' | 'fail'
  text: string
  remedy: string | null
}

type Verdict = Omit<Check, 'name'>
const ok = (text: string): Verdict => ({ status: 'ok', text, remedy: null })
const note = (text: string, remedy: string): Verdict => ({ status: 'note', text, remedy })
const fail = (text: string, remedy: string): Verdict => ({ status: 'fail', text, remedy })

const MSHAREFS = '/sys/fs/mshare'
const MSHAREFS_MAGIC = 0x6d736872
const SHM = '/dev/shm'
const TMPFS_MAGIC = 0x01021994
const RUN_VM =
  'npm run vm -- COMMAND, in a checkout, runs it on one that has; docs/kernel.md has more'

export async function doctor(output: Output): Promise<number> {
  const probe = Region.probe()
  const checks: Check[] = []
  const check = async (name: string, work: () => Verdict | Promise<Verdict>) => {
    checks.push({ name, ...(await work()) })
  }
  await check('system', system)
  await check('library', () => library(probe))
  await check('drivers', () => drivers(probe))
  await check('msharefs', msharefs)
  await check('/dev/shm', () => shm(needsShm()))
  await check('root', () => root(probe))
  const usable = !(probe.available === false && isAboutLibrary(probe.error))
  if (usable) await check('trial', trial)
  await check('rights', () => rights(probe))
  await check('limits', limits)
  await check('memory', memory)
  if (probe.available) await check('regions', regions)
  await check('run', runner)
  await check('vm', machine)

  const healthy = checks.every(({ status }) => status !== 'fail')
  output.give({ healthy, checks }, () => {
    const width = Math.max(...checks.map(({ name }) => name.length))
    const colours = { ok: 32, note: 33, fail: 31 }
    return checks.flatMap(({ name, status, text, remedy }) => [
      `${output.paint(colours[status], status.padEnd(4))}  ${name.padEnd(width)}  ${printable(text)}`,
      ...(remedy === null ? [] : [`      ${' '.repeat(width)}  -> ${printable(remedy)}`]),
    ])
  })
  return healthy ? DONE : FAILED
}

const isAboutLibrary = (error: Error) =>
  String((error as NodeJS.ErrnoException).code).startsWith('ERR_')

const read = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

const access = (path: string, mode: number): string | undefined => {
  try {
    accessSync(path, mode)
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'unknown'
  }
}

const fileSystem = (path: string) => {
  try {
    const { type, bsize, blocks, bavail } = statfsSync(path)
    return { type, size: bsize * blocks, free: bsize * bavail }
  } catch {
    return undefined
  }
}

function system(): Verdict {
  const [major = 0, minor = 0] = os.release().split('.').map(Number)
  const text = `${os.type()} ${os.release()} on ${os.machine()}, Node ${process.version}`
  if (os.type() !== 'Linux') return fail(text, 'mshare is for Linux')
  if (major < 5 || (major === 5 && minor < 10)) return fail(text, 'Use Linux 5.10 or newer')
  if (!existsSync('/proc/self/maps')) {
    return note(`${text}; /proc is not mounted`, 'mount -t proc none /proc: reopening needs it')
  }
  return ok(text)
}

function library(probe: Probe): Verdict {
  if (probe.available) return ok(probe.library)
  if (!isAboutLibrary(probe.error)) return ok('libmshare loads')
  const { message, remedy } = report(probe.error, 'doctor') ?? { message: '', remedy: '' }
  return fail(message || probe.error.message, remedy || 'Install @mshare/core anew')
}

/** Both, each in a process of its own: only one of them can be used in any. */
function drivers(probe: Probe): Verdict {
  const isDriver = !probe.available && (probe.error as NodeJS.ErrnoException).code === 'ERR_DRIVER'
  if (!probe.available && isAboutLibrary(probe.error) && !isDriver) {
    return note('not tried: there is no libmshare for them to load', 'See library above')
  }
  const asked = process.env['MSHARE_FFI'] || 'koffi'
  const other = asked === 'koffi' ? 'ffi-napi' : 'koffi'
  const cli = import.meta.url.replace(/doctor(\.[jt]s)$/, 'cli$1')
  const { execPath, execArgv } = process
  const child = spawnSync(execPath, [...execArgv, fileURLToPath(cli), '__driver'], {
    env: { ...process.env, MSHARE_FFI: other },
    encoding: 'utf8',
  })
  const second =
    child.status === 0
      ? `${other} works too`
      : child.status === NOT_INSTALLED
        ? `${other} is not installed`
        : `${other}: ${child.stderr.trim().split('\n')[0]}`
  if (!probe.available && isDriver) {
    const { message, remedy } = report(probe.error, 'doctor') as { message: string; remedy: string }
    return fail(`${message}; ${second}`, remedy)
  }
  if (child.status === 0 || child.status === NOT_INSTALLED) return ok(`${asked} is used; ${second}`)
  return note(
    `${asked} is used; ${second}`,
    `Nothing, as long as ${asked} does; ` +
      (other === 'koffi'
        ? 'npm install @mshare/core'
        : 'npm install --ignore-scripts @mshare/driver-ffi-napi') +
      ` brings ${other}`,
  )
}

/** The status of `mshare __driver` if the package is not there. */
const NOT_INSTALLED = 3

/** What `mshare __driver` does: say whether the driver asked for loads the library. */
export function tryDriver(output: Output): number {
  const asked = process.env['MSHARE_FFI']
  if (asked === 'koffi' || asked === 'ffi-napi') setDriver(asked)
  const probe = Region.probe()
  if (probe.available || !isAboutLibrary(probe.error)) return DONE
  output.error(printable(probe.error.message))
  const { code, cause } = probe.error as NodeJS.ErrnoException & { cause?: { code?: string } }
  if (code === 'ERR_DRIVER' && cause?.code === 'MODULE_NOT_FOUND') return NOT_INSTALLED
  return FAILED
}

const kernelHasIt = () => /^\S*\tmsharefs$/m.test(read('/proc/filesystems') ?? '')
const isMounted = () => fileSystem(MSHAREFS)?.type === MSHAREFS_MAGIC
const needsShm = () => !process.env['MSHARE_ROOT'] && !isMounted()

function msharefs(): Verdict {
  if (!kernelHasIt()) {
    return note(
      'this kernel has no msharefs: regions work all the same, each attacher with page tables of its own',
      RUN_VM,
    )
  }
  const fs = fileSystem(MSHAREFS)
  if (fs?.type !== MSHAREFS_MAGIC) {
    return note(
      `this kernel has msharefs, and none is mounted at ${MSHAREFS}: page tables are not shared`,
      `As root: mount -t msharefs none ${MSHAREFS}`,
    )
  }
  const denied = access(MSHAREFS, constants.W_OK)
  const text = `mounted at ${MSHAREFS}, ${formatBytes(fs.free)} of ${formatBytes(fs.size)} free`
  if (denied === 'EROFS') {
    return note(`${text}; read-only`, `As root: mount -o remount,rw ${MSHAREFS}`)
  }
  if (denied) return note(`${text}; you may not write there`, `As root: chmod 1777 ${MSHAREFS}`)
  return ok(text)
}

/** `needed`: the root is there unless somebody says otherwise. */
function shm(needed: boolean): Verdict {
  const bad = (text: string, remedy: string) => {
    if (needed) return fail(text, remedy)
    return note(`${text}; regions are elsewhere, and only shm_open() and the like miss it`, remedy)
  }
  const elsewhere = 'or set MSHARE_ROOT to a directory on a tmpfs that you may write'
  if (!existsSync(SHM)) {
    return bad(
      `there is no ${SHM}`,
      `As root: mkdir -m 1777 ${SHM} && mount -t tmpfs -o mode=1777 none ${SHM}; ${elsewhere}`,
    )
  }
  const fs = fileSystem(SHM)
  if (!fs) return bad(`${SHM} cannot be looked into`, `As root: chmod 1777 ${SHM}; ${elsewhere}`)
  if (fs.type !== TMPFS_MAGIC) {
    return bad(
      `${SHM} is no tmpfs`,
      `As root: mount -t tmpfs -o mode=1777 none ${SHM}; ${elsewhere}`,
    )
  }
  const denied = access(SHM, constants.W_OK | constants.X_OK)
  const size = `${formatBytes(fs.free)} of ${formatBytes(fs.size)} free`
  if (denied === 'EROFS') {
    return bad(`${SHM} is read-only`, `As root: mount -o remount,rw ${SHM}; ${elsewhere}`)
  }
  if (denied) return bad(`you may not write in ${SHM}`, `As root: chmod 1777 ${SHM}; ${elsewhere}`)
  const enlarge = `As root: mount -o remount,size=8G ${SHM}; docker run --shm-size=8g`
  const free = `Remove something: mshare ls, mshare gc. ${enlarge}`
  // A region's own administration takes some pages, and is to be made first.
  if (fs.free < 2 ** 18) return bad(`${SHM} is full: ${size}`, free)
  if (fs.free < fs.size / 20) return note(`a tmpfs, nearly full: ${size}`, free)
  if (fs.size < 2 ** 27) return note(`a small tmpfs, ${size}`, enlarge)
  return ok(`a tmpfs, ${size}`)
}

function root(probe: Probe): Verdict {
  if (probe.available) {
    const given = process.env['MSHARE_ROOT'] ? ', as MSHARE_ROOT says' : ''
    const tables = probe.sharedPageTables ? 'shared' : 'not shared'
    return ok(`${probe.root}, on ${probe.backend}: page tables are ${tables}${given}`)
  }
  return failure(probe.error, 'docs/faq.md has the usual causes')
}

const rootRemedies: Record<string, string> = {
  ENOENT: 'Make the directory that MSHARE_ROOT names, on a tmpfs; or see /dev/shm above',
  EROFS: 'See /dev/shm above; or set MSHARE_ROOT to a directory on a tmpfs that you may write',
  EACCES: 'Set MSHARE_ROOT to a directory on a tmpfs that you may write',
  EOPNOTSUPP: 'Set MSHARE_ROOT to a directory on a msharefs or a tmpfs',
  EINVAL: 'Set MSHARE_ROOT to an absolute path, or unset it',
  EPERM:
    'Remove what is there if it is not yours, chmod it to 700 if it is; or set MSHARE_ROOT to a directory on a tmpfs',
  ELOOP: 'Remove the link',
  ENOSPC: 'Remove something: mshare ls, mshare gc; or enlarge the file system',
}

function failure(error: unknown, otherwise: string): Verdict {
  const { code, message, remedy } = report(error, 'doctor') ?? {
    code: 'unknown',
    message: String(error),
    remedy: otherwise,
  }
  return fail(`${code}: ${message}`, rootRemedies[code] ?? remedy)
}

/** Make a region, attach it, write, read, change it, and remove it. */
function trial(): Verdict {
  const use = (region: Region) => {
    const view = region.attach()
    region.map({ offset: 0, length: '64KiB' })
    view.buffer(0, 4096).write('trial')
    if (view.buffer(0, 5).toString() !== 'trial')
      throw new Error('memory does not keep what is written')
    region.protect({ offset: 0, length: '64KiB', prot: 'r', force: true })
    const [mapping] = region.mappings()
    if (mapping?.prot !== 'r') throw new Error('a change has not come about')
  }
  const attempt = (make: () => Region): unknown => {
    try {
      const region = make()
      try {
        use(region)
      } finally {
        region.close()
      }
      return undefined
    } catch (error) {
      return error
    }
  }
  const name = `mshare-doctor-${process.pid}`
  const withName = attempt(() => {
    const region = Region.create(name, { size: '1GiB' })
    Region.unlink(name)
    return region
  })
  const without = attempt(() => Region.unnamed({ size: '1GiB' }))
  if (!withName && !without) return ok('a region was made, attached, written, changed and removed')
  const verdict = failure(withName ?? without, 'docs/faq.md has the usual causes')
  const rest = without ? 'nor do those without a name' : 'those without a name do'
  if (!withName) return { ...verdict, text: `regions without a name do not work: ${verdict.text}` }
  return { ...verdict, text: `regions with a name do not work, ${rest}: ${verdict.text}` }
}

function rights(probe: Probe): Verdict {
  const uid = process.geteuid?.() ?? -1
  const { hidden } = users(new Map())
  const seen =
    hidden === 0
      ? 'all processes can be looked into'
      : `${plural(hidden, 'process', 'processes')} cannot be looked into: which regions they use is not seen`
  if (uid === 0) return ok(`root; ${seen}`)
  const text = `uid ${uid}: a root of your own; ${seen}`
  const inShm = probe.available && probe.root.startsWith(`${SHM}/`)
  if (inShm && uid >= 1000 && removesIpc()) {
    return note(
      `${text}; systemd removes what you have in ${SHM} when you log out`,
      `loginctl enable-linger, RemoveIPC=no in logind.conf, or MSHARE_ROOT on another tmpfs`,
    )
  }
  return ok(text)
}

/** systemd-logind's RemoveIPC is on unless it says otherwise; not for who lingers. */
function removesIpc(): boolean {
  if (!existsSync('/run/systemd/system')) return false
  if (existsSync(`/var/lib/systemd/linger/${os.userInfo().username}`)) return false
  const files = ['/etc/systemd/logind.conf']
  for (const directory of ['/usr/lib/systemd/logind.conf.d', '/etc/systemd/logind.conf.d']) {
    try {
      files.push(
        ...readdirSync(directory)
          .sort()
          .map((name) => `${directory}/${name}`),
      )
    } catch {}
  }
  const said = files.flatMap((path) => [...(read(path) ?? '').matchAll(/^RemoveIPC=(\S+)/gm)])
  return !/^(no|false|off|0)$/.test(said.at(-1)?.[1] ?? 'yes')
}

function limits(): Verdict {
  const text = read('/proc/self/limits') ?? ''
  const limit = (name: string) => {
    const value = new RegExp(`^${name} +(\\S+)`, 'm').exec(text)?.[1]
    return value === undefined || value === 'unlimited' ? Number.POSITIVE_INFINITY : Number(value)
  }
  const space = limit('Max address space')
  const size = limit('Max file size')
  const files = limit('Max open files')
  const maps = Number(read('/proc/sys/vm/max_map_count') ?? Number.NaN)
  const bytes = (n: number) => (Number.isFinite(n) ? formatBytes(n) : 'no limit')
  const all =
    `addresses: ${bytes(space)}; file size: ${bytes(size)}; open files: ${files}; ` +
    `mappings of a process: ${maps}`
  const low = [
    ...(space < 2 ** 40 ? ['ulimit -v (a window counts in full)'] : []),
    ...(size < 2 ** 40 ? ['ulimit -f (on shm, the window and 1 GiB more)'] : []),
    ...(files < 256 ? ['ulimit -n (an attachment takes up to two)'] : []),
    ...(maps < 65530 ? ['sysctl vm.max_map_count (each mapping takes up to two)'] : []),
  ]
  return low.length > 0 ? note(all, `Raise ${low.join(', ')}`) : ok(all)
}

function memory(): Verdict {
  const available = Number(/^MemAvailable: +(\d+)/m.exec(read('/proc/meminfo') ?? '')?.[1]) * 1024
  const group = /^0::(.*)$/m.exec(read('/proc/self/cgroup') ?? '')?.[1]
  // In a container the group is its own root, whatever its path is outside.
  const limit = group === undefined ? '' : cgroup(group, 'memory.max')
  const used = limit ? Number(cgroup(group as string, 'memory.current')) : 0
  const left = /^\d+$/.test(limit) ? Number(limit) - used : Number.POSITIVE_INFINITY
  const text =
    `${formatBytes(available)} available` +
    (Number.isFinite(left) ? `; ${formatBytes(Math.max(left, 0))} left in the cgroup` : '')
  const least = Math.min(available, left)
  return least < 2 ** 26
    ? note(
        text,
        'End something, or raise memory.max of the cgroup: map fails with ENOSPC, or a touch is SIGBUS',
      )
    : ok(text)
}

function cgroup(group: string, file: string): string {
  const base = '/sys/fs/cgroup'
  return (read(`${base}${group}/${file}`) ?? read(`${base}/${file}`) ?? '').trim()
}

function regions(): Verdict {
  const all = survey()
  const left = all.filter(({ state }) => state === 'no-window' || state === 'damaged').length
  const behind = all.filter(({ stragglers }) => stragglers > 0).length
  const text = plural(all.length, 'region')
  if (left > 0) {
    return note(`${text}, of which ${left} without a window or damaged`, 'mshare gc --dry-run')
  }
  if (behind > 0) {
    return note(
      `${text}, ${behind} with an attacher that does not follow`,
      'mshare info NAME lists the processes; one is stopped: kill -CONT PID, or end it',
    )
  }
  return ok(text)
}

function runner(): Verdict {
  const path = findRunner()
  if (!path) {
    return note(
      'there is no mshare-run: mshare run has nothing to run with',
      'make -C libmshare && make -C libmshare install',
    )
  }
  const effect = isMounted() ? '' : '; without msharefs it runs programs as they are'
  return ok(`${path}${effect}`)
}

async function machine(): Promise<Verdict> {
  let vm: typeof import('@mshare/vm')
  try {
    vm = await import('@mshare/vm')
  } catch {
    return note(
      '@mshare/vm is not installed: mshare vm has nothing to boot',
      'Use a checkout of mshare',
    )
  }
  try {
    const { qemu, args } = vm.plan({ command: ['true'], cwd: '/' })
    return ok(`${qemu}${args.includes('kvm') ? ', with KVM' : ', emulating: slow'}`)
  } catch (error) {
    if (!(error instanceof vm.VmError)) throw error
    // The remedy comes after the cause, on a line of its own.
    const [cause = '', ...rest] = error.message.split('\n')
    const command = rest.join(' ').trim()
    return note(
      cause.replace(/; it comes with$/, ''),
      command ? `As root: ${command}` : 'mshare vm is not for this machine',
    )
  }
}
