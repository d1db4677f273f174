// SPDX-License-Identifier: MIT

import { execFileSync, spawn } from 'node:child_process'
import { createWriteStream, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable, type Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { complaint } from './complaints.js'
import { cpio } from './cpio.js'
import { VmError } from './error.js'
import { Frames, frame, inputFrames } from './frames.js'
import { findKernel } from './kernel.js'
import { type Options, plan, signalName } from './plan.js'

export interface RunOptions extends Options {
  /** Seconds, from the start of QEMU; 0 is for ever. Default: 1800. */
  timeout?: number
  /** What the command reads. Default: nothing. */
  stdin?: Readable | Buffer | string
  /** Where its output goes as it comes. Default: into the result. */
  stdout?: Writable
  stderr?: Writable
  /** A file for the kernel log, besides the result. */
  log?: string
  /** Sizes of the terminal, when they change. */
  onResize?: (resized: (rows: number, columns: number) => void) => void
}

/** How the command ended. */
export type Ended = { kind: 'exited'; status: number } | { kind: 'signalled'; signal: string }

export type Result = {
  /** Lines of the kernel log that are complaints. */
  complaints: string[]
  /** The kernel log. */
  log: string
  /** What the command wrote, unless it went elsewhere as it came. */
  stdout: Buffer
  stderr: Buffer
  /** From the start of QEMU to its end, and to the start of the command. */
  seconds: number
  bootSeconds: number | undefined
} & (
  | Ended
  /** The kernel log has complaints, whatever the command says of itself. */
  | { kind: 'complained'; ended: Ended }
  /** `ended`: the command was done, and the guest did not get to clean up. */
  | { kind: 'timed-out'; ended: Ended | undefined }
  /** The kernel panicked. */
  | { kind: 'panicked' }
  /** The guest ended without a word of how the command did. */
  | { kind: 'died'; reason: string }
)

/** What `npm run vm` exits with: the command's own status, or one that says why there is none. */
export function exitStatus(result: Result | Ended): number {
  switch (result.kind) {
    case 'exited':
      return result.status
    case 'signalled':
      return 128 + (constants.signals[result.signal as NodeJS.Signals] ?? 0)
    case 'complained':
      return 123
    case 'timed-out':
      return 124
    default:
      return 125
  }
}

const home = fileURLToPath(new URL('..', import.meta.url))

function initrd(conf: Buffer): Buffer {
  try {
    // A moment if it is up to date, which is not left to chance.
    execFileSync('make', ['-s', '-C', home, 'build/init'], { stdio: ['ignore', 'ignore', 'pipe'] })
  } catch (error) {
    const { code, stderr } = error as { code?: string; stderr?: Buffer }
    throw new VmError(
      'ERR_PREREQUISITE',
      'the guest needs its init, and make, gcc and a static libc to compile it:\n' +
        '  apt-get install -y --no-install-recommends make gcc libc6-dev' +
        `\n${code === 'ENOENT' ? 'there is no make' : stderr}`,
    )
  }
  return cpio([
    { name: 'dev', mode: 0o40755 },
    // What the kernel opens for init before there is a devtmpfs.
    { name: 'dev/console', mode: 0o20600, device: [5, 1] },
    { name: 'init', mode: 0o100755, data: readFileSync(join(home, 'build/init')) },
    { name: 'vm.conf', mode: 0o100600, data: conf },
  ])
}

/** Boot, run the command, and tell how it went. Throws VmError if no guest came to run. */
export async function run(options: RunOptions): Promise<Result> {
  const { qemu, args, append, conf } = plan(options)
  const kernel = await findKernel(options.kernel ?? 'test', true)
  const scratch = mkdtempSync(join(tmpdir(), 'mshare-vm-'))
  const image = join(scratch, 'initrd')
  const loaded = () => rmSync(scratch, { recursive: true, force: true })
  try {
    writeFileSync(image, initrd(conf))
    const boot = ['-kernel', kernel.path, '-initrd', image, '-append', append]
    return await new Guest(options, loaded).run(qemu, [...args, ...boot])
  } finally {
    loaded()
  }
}

class Guest {
  readonly #options: RunOptions
  readonly #loaded: () => void
  readonly #out: Buffer[] = []
  readonly #err: Buffer[] = []
  readonly #complaints: string[] = []
  #log = ''
  #line = ''
  #ended: Ended | undefined
  #failure: string | undefined
  #bye = false
  #off = false
  #bootSeconds: number | undefined

  constructor(options: RunOptions, loaded: () => void) {
    this.#options = options
    this.#loaded = loaded
  }

  run(qemu: string, args: string[]): Promise<Result> {
    const options = this.#options
    const limit = options.timeout ?? 1800
    const begin = performance.now()
    const since = () => (performance.now() - begin) / 1000
    const logFile = options.log === undefined ? undefined : createWriteStream(options.log)
    const child = spawn(qemu, args, { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] })
    const port = child.stdio[3] as Socket
    let expired = false
    let said = ''

    // Not to outlive whoever started it. (Killed with -9, the runner closes the port: init sees that.)
    const kill = () => child.kill('SIGKILL')
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
    const handler = (signal: NodeJS.Signals) => {
      kill()
      this.#loaded()
      restore()
      process.kill(process.pid, signal)
    }
    const restore = () => {
      process.off('exit', kill)
      for (const signal of signals) process.off(signal, handler)
    }
    process.on('exit', kill)
    for (const signal of signals) process.on(signal, handler)
    const timer =
      limit > 0
        ? setTimeout(() => {
            expired = true
            kill()
          }, limit * 1000)
        : undefined

    // The kernel speaks: QEMU needs its files no more, whatever becomes of this process.
    child.stdout?.once('data', this.#loaded)
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      logFile?.write(text.replaceAll('\r', ''))
      this.#console(text)
      // This machine has nothing that switches it off: it would stand there, its devices shut down.
      if (this.#off) kill()
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    const frames = new Frames()
    port.on('data', (chunk: Buffer) => {
      for (const { type, data } of frames.take(chunk)) {
        if (type === 'S') this.#bootSeconds = since()
        else this.#frame(type, data, port)
      }
    })
    // It goes away with the guest, whose end says more.
    port.on('error', () => {})
    const stop = this.#input(port)

    return new Promise<Result>((resolve, reject) => {
      child.on('error', (error) => {
        clearTimeout(timer)
        restore()
        stop()
        reject(new VmError('ERR_QEMU', `${qemu}: ${error.message}`))
      })
      child.on('close', (status, signal) => {
        clearTimeout(timer)
        restore()
        stop()
        this.#console('\n')
        const done = () => {
          if (!expired && status === 1 && this.#log.trim() === '' && said !== '') {
            // Not the guest's exit code 1: that is what isa-debug-exit makes of 0, with a log.
            reject(new VmError('ERR_QEMU', `${qemu} ended with status 1:\n${said.trimEnd()}`))
            return
          }
          resolve({
            complaints: this.#complaints,
            log: this.#log,
            stdout: Buffer.concat(this.#out),
            stderr: Buffer.concat(this.#err),
            seconds: since(),
            bootSeconds: this.#bootSeconds,
            ...this.#verdict(expired, status, signal, said.trim()),
          })
        }
        if (logFile) logFile.end(done)
        else done()
      })
    })
  }

  #console(text: string) {
    const clean = text.replaceAll('\r', '')
    this.#log += clean
    const lines = (this.#line + clean).split('\n')
    this.#line = lines.pop() as string
    this.#complaints.push(...lines.filter(complaint))
    this.#off ||= lines.some((line) => /\] reboot: (Power down|System halted)$/.test(line))
  }

  #frame(type: string, data: Buffer, port: Socket) {
    const { stdout, stderr } = this.#options
    const deliver = (kept: Buffer[], to: Writable | undefined) => {
      if (!to) kept.push(Buffer.from(data))
      else if (!to.write(data)) {
        port.pause()
        to.once('drain', () => port.resume())
      }
    }
    if (type === 'O') deliver(this.#out, stdout)
    else if (type === 'E') deliver(this.#err, stderr)
    else if (type === 'F') this.#failure = data.toString()
    else if (type === 'B') this.#bye = true
    else if (type === 'X') {
      const [how, number] = data.toString().split(' ')
      this.#ended =
        how === 'exited'
          ? { kind: 'exited', status: Number(number) }
          : { kind: 'signalled', signal: signalName(Number(number)) }
    }
  }

  #input(port: Socket): () => void {
    const { stdin = '', onResize, terminal } = this.#options
    const resized = (rows: number, columns: number) => {
      const data = Buffer.alloc(4)
      data.writeUInt16LE(rows, 0)
      data.writeUInt16LE(columns, 2)
      port.write(frame('W', data))
    }
    port.write(frame('H'))
    if (terminal) resized(terminal.rows, terminal.columns)
    onResize?.(resized)

    const source = stdin instanceof Readable ? stdin : Readable.from([Buffer.from(stdin)])
    const data = (chunk: Buffer | string) => {
      let room = true
      for (const part of inputFrames(Buffer.from(chunk))) room = port.write(part)
      if (room) return
      source.pause()
      port.once('drain', () => source.resume())
    }
    const end = () => port.write(frame('I'))
    source.on('data', data)
    source.once('end', end)
    return () => {
      source.off('data', data)
      source.off('end', end)
      source.pause()
    }
  }

  #verdict(expired: boolean, status: number | null, signal: string | null, said: string) {
    if (expired) return { kind: 'timed-out', ended: this.#ended } as const
    if (/Kernel panic/.test(this.#log)) return { kind: 'panicked' } as const
    let ended = this.#ended
    const failure = this.#failure ?? (this.#off ? 'it was switched off' : undefined)
    // isa-debug-exit makes an odd number of what the guest's init left there, should the port have
    // failed; from 120 on that stands for something else.
    const code = status !== null && status & 1 ? status >> 1 : undefined
    if (!ended && !failure && code !== undefined && code < 120) {
      ended = { kind: 'exited', status: code }
    } else if (!ended || !(this.#bye || code !== undefined)) {
      const reason =
        failure ??
        `QEMU ended with ${signal ?? `status ${status}`}${said && `: ${said}`}` +
          `${ended ? ', while the guest was cleaning up' : ''}`
      return { kind: 'died', reason } as const
    }
    if (this.#complaints.length > 0) return { kind: 'complained', ended } as const
    return ended
  }
}
