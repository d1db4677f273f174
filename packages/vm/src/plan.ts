// SPDX-License-Identifier: MIT
//
// From options to the machine: what QEMU is told, and what the guest's init is told (vm.conf).

import { accessSync, constants, existsSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { availableParallelism, constants as os } from 'node:os'
import { delimiter, join } from 'node:path'
import { VmError } from './error.js'

export interface Options {
  /** The program, looked up in the guest's PATH, and its arguments. */
  command: string[]
  /** Where it runs: the same path in the guest. Default: here. */
  cwd?: string
  /** All of its environment. Default: PATH and HOME. */
  env?: Record<string, string>
  /** test, debug, stock, stock-debug, or the path of a vmlinux. Default: test. */
  kernel?: string
  /** Like 512M or 4G. Default: 4G. */
  memory?: string
  /** 1 to 8. Default: as many as here, at least 2, at most 4; 1 with `icount`. */
  cpus?: number
  /** Directories of the host that the guest may write, at the same paths. */
  shares?: string[]
  /** Paths below /tmp and /run that the guest sees; what it changes there, it keeps to itself. */
  keep?: string[]
  /** For the kernel's command line. */
  append?: string[]
  /**
   * A clock that counts instructions, of all processors together: 1 GHz, one each cycle. They run in
   * turns, a while each.
   */
  icount?: boolean
  /** A Unix socket to be made, at which GDB finds the machine: `target remote PATH`. */
  gdb?: string
  /** Swap on zram: its size, like `memory`. */
  swap?: string
  /** A terminal, of rows and columns, instead of three streams. */
  terminal?: { rows: number; columns: number }
}

export interface Plan {
  qemu: string
  /** Without what only a run has: -kernel and -initrd. */
  args: string[]
  append: string
  conf: Buffer
  kept: string[]
}

// What the guest has its own of. Below the first two, things of the host can be shown.
const hidden = ['/tmp', '/run', '/dev', '/proc', '/sys']

const below = (path: string, directory: string) => `${path}/`.startsWith(`${directory}/`)

export function bytes(name: string, size: string): number {
  const match = /^(\d+)([MG])$/.exec(size)
  if (!match) throw new VmError('ERR_OPTION', `${name} is ${size}; say it like 512M or 4G`)
  return Number(match[1]) * (match[2] === 'G' ? 1024 ** 3 : 1024 ** 2)
}

function find(program: string): string | undefined {
  for (const directory of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(directory, program)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {}
  }
  return undefined
}

/** Whether KVM works here. That /dev/kvm is there does not say so: without vmx or svm a guest hangs. */
function kvm(cpuinfo: string): boolean {
  try {
    accessSync('/dev/kvm', constants.W_OK)
  } catch {
    return false
  }
  return /^flags.*\b(vmx|svm)\b/m.test(cpuinfo)
}

function directory(option: string, path: string): string {
  if (!existsSync(path) || !statSync(path).isDirectory()) {
    throw new VmError('ERR_OPTION', `${option}: ${path} is not a directory`)
  }
  return realpathSync(path)
}

/** What of the host has to show through for `cwd` to be there in the guest. */
function keepFor(cwd: string): string[] {
  const over = hidden.find((path) => below(cwd, path))
  if (!over || cwd === over) return []
  if (over === '/tmp' || over === '/run') {
    // All of it below /tmp: a checkout there is of use as a whole only.
    return [cwd.split('/').slice(0, 3).join('/')]
  }
  throw new VmError(
    'ERR_OPTION',
    `the guest has its own ${over}, without ${cwd}: run this from another directory`,
  )
}

export function plan(options: Options): Plan {
  const qemu = find('qemu-system-x86_64')
  if (!qemu) {
    throw new VmError(
      'ERR_PREREQUISITE',
      'there is no qemu-system-x86_64 in PATH; it comes with\n' +
        '  apt-get install -y --no-install-recommends qemu-system-x86',
    )
  }
  if (process.arch !== 'x64') {
    throw new VmError(
      'ERR_PREREQUISITE',
      `the guest runs the programs of this machine (${process.arch}) on an x86-64 kernel`,
    )
  }
  if (options.command.length === 0) throw new VmError('ERR_OPTION', 'there is no command')

  const { icount = false, memory = '4G' } = options
  const cpus = options.cpus ?? (icount ? 1 : Math.min(Math.max(availableParallelism(), 2), 4))
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > 8) {
    throw new VmError('ERR_OPTION', `the kernel has 1 to 8 processors, not ${cpus}`)
  }
  if (bytes('memory', memory) < 128 * 1024 ** 2) {
    throw new VmError('ERR_OPTION', `${memory} of memory is too little: 128M at least`)
  }

  const cwd = directory('cwd', options.cwd ?? process.cwd())
  const shares = (options.shares ?? []).map((path) => directory('share', path))
  // microvm has eight places for devices; the port and the root have two of them.
  if (shares.length > 6) throw new VmError('ERR_OPTION', 'six directories can be shared, not more')
  const kept = new Set((options.keep ?? []).map((path) => directory('keep', path)))
  for (const path of kept) {
    if (!/^\/(tmp|run)\/./.test(path)) {
      throw new VmError('ERR_OPTION', `keep: ${path} is not below /tmp or /run`)
    }
  }
  if (!shares.some((path) => below(cwd, path))) for (const path of keepFor(cwd)) kept.add(path)

  const cpuinfo = readFileSync('/proc/cpuinfo', 'utf8')
  const accelerated = kvm(cpuinfo) && !icount
  const khz = icount
    ? 1_000_000
    : Math.round(Number(/^cpu MHz\s*: ([\d.]+)/m.exec(cpuinfo)?.[1] ?? 0) * 1000)

  const args = [
    ...['-M', 'microvm,acpi=off,rtc=on,pit=on,pic=on,isa-serial=on'],
    ...(accelerated ? ['-accel', 'kvm', '-cpu', 'host'] : []),
    ...(accelerated ? [] : ['-accel', `tcg,thread=${icount ? 'single' : 'multi'}`]),
    ...(accelerated ? [] : ['-cpu', 'max,la57=off']),
    ...(icount ? ['-icount', 'shift=0'] : []),
    ...['-smp', `${cpus}`, '-m', memory],
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-monitor', 'none'],
    // The kernel log comes out of stdout; the command has file descriptor 3.
    ...['-serial', 'stdio'],
    ...['-device', 'virtio-serial-device', '-chardev', 'socket,id=port,fd=3'],
    ...['-device', 'virtserialport,chardev=port,name=mshare-vm'],
    ...(options.gdb
      ? ['-gdb', `unix:${options.gdb.replaceAll(',', ',,')},server=on,wait=off`]
      : []),
    ...['-device', 'isa-debug-exit,iobase=0xf4,iosize=4'],
    ...fsdev('root', '/', ',readonly=on'),
    ...shares.flatMap((path, i) => fsdev(`share${i}`, path, '')),
  ]
  const append = [
    'console=ttyS0',
    // Warnings are what the run is judged by, so not `quiet`.
    'loglevel=6',
    'panic=-1',
    // Calibration of the TSC fails half of the time under emulation, and its watchdog has false
    // alarms; without a TSC the clock has the resolution of the tick.
    // And calibrating the delay loop, for each processor, can take minutes on a busy host, with a
    // result far off: given is what the TSC says, at 100 ticks a second (kernel/configs).
    ...(khz && !accelerated ? [`tsc_early_khz=${khz}`, 'tsc=nowatchdog', `lpj=${khz * 10}`] : []),
    // The most there is: processors stand still while the host is busy.
    'watchdog_thresh=60',
    'brd.rd_nr=2',
    'brd.rd_size=262144',
    ...(options.append ?? []),
  ].join(' ')

  const env = options.env ?? {
    PATH: process.env['PATH'] ?? '/usr/bin:/bin',
    HOME: process.env['HOME'] ?? '/',
  }
  const records = [
    ...options.command.map((arg) => `arg=${arg}`),
    ...Object.entries(env).map(([name, value]) => `env=${name}=${value}`),
    `cwd=${cwd}`,
    ...shares.map((path) => `share=${path}`),
    ...[...kept].map((path) => `keep=${path}`),
    ...(options.swap ? [`swap=${bytes('swap', options.swap)}`] : []),
    ...(options.terminal ? ['tty=1'] : []),
  ]
  const nul = records.find((record) => record.includes('\0'))
  if (nul) throw new VmError('ERR_OPTION', `a NUL in ${JSON.stringify(nul)}`)
  return { qemu, args, append, conf: Buffer.from(`${records.join('\0')}\0`), kept: [...kept] }
}

function fsdev(id: string, path: string, more: string): string[] {
  // A comma ends a value of QEMU's; two are one.
  const escaped = path.replaceAll(',', ',,')
  return [
    ...['-fsdev', `local,id=${id},path=${escaped},security_model=none,multidevs=remap${more}`],
    ...['-device', `virtio-9p-device,fsdev=${id},mount_tag=${id}`],
  ]
}

/** The name of a signal, for its number. */
export function signalName(number: number): string {
  const found = Object.entries(os.signals).find(([, n]) => n === number)
  return found ? found[0] : `signal ${number}`
}
