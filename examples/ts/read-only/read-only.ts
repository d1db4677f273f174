// SPDX-License-Identifier: MIT
//
// A reader that cannot write, whatever it tries: examples/c/read-only from JavaScript.
//
// The owner hands its children a descriptor that is open read-only. One of them tries everything
// that fails with an error; what ends in SIGSEGV, which JavaScript cannot catch, is left to
// children that are there to be sacrificed. Run by root, the children are user 65534: rights on a
// region are rights on a file, and its owner could always give himself back what he took away.

import { spawn } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import {
  closeSync,
  constants,
  fchmodSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type Attachment, MshareError, type ReadonlyAttachment, Region } from '@mshare/core'

const LENGTH = 64 * 1024
const NOBODY = 65534
const ROOT = process.geteuid?.() === 0
const FD = 3
const GRAFFITI = Buffer.from('what a reader wrote')

function textOf(attachment: Attachment | ReadonlyAttachment): string {
  const text = attachment.buffer(0, 64).toString()
  return text.slice(0, text.indexOf('\0'))
}

// The children.

function becomeNobody(): void {
  if (!ROOT) return
  process.setgroups?.([])
  process.setgid?.(NOBODY)
  process.setuid?.(NOBODY)
}

/** One child tries all that fails with an error. */
async function read(): Promise<boolean> {
  // Opened while it is allowed: after the change of user /proc/self/mem is closed to it, and the
  // attempt would prove nothing.
  const memory = openSync('/proc/self/mem', 'r+')
  using region = Region.fromFd(FD, { access: 'r' })
  becomeNobody()
  using attachment = region.attach()
  const address = attachment.address
  // The types say that nobody should store to it; that is not what keeps it from being stored to.
  const view = attachment.array(Uint8Array, { length: LENGTH }) as Uint8Array
  console.log(
    `the reader, process ${process.pid} of user ${process.getuid?.()}, attached at ` +
      `0x${address.toString(16)}, reads: "${textOf(attachment)}"`,
  )
  let held = true
  const attempt = (what: string, fn: () => unknown, ownerMay = false): void => {
    let result = 'WENT THROUGH'
    if (ownerMay && !ROOT) {
      result = 'not tried: the owner may; run as root, the reader is another user'
    } else {
      try {
        fn()
        held = false
      } catch (error) {
        result = (error as NodeJS.ErrnoException).code ?? `${error}`
      }
    }
    console.log(`  ${what.padEnd(46)} ${result}`)
  }
  const range = { offset: 0, length: LENGTH }

  attempt('readSync() of /dev/zero into it', () => {
    const zero = openSync('/dev/zero', 'r')
    try {
      readSync(zero, view, 0, 8, null)
    } finally {
      closeSync(zero)
    }
  })
  attempt('/proc/self/mem', () => writeSync(memory, GRAFFITI, 0, GRAFFITI.length, Number(address)))
  attempt('writeSync() to the descriptor', () => writeSync(FD, GRAFFITI, 0, 8, 2 ** 30))
  attempt('ftruncateSync() of it', () => ftruncateSync(FD))
  attempt('region.attach(): read and write', () => region.attach({ prot: 'rw', anywhere: true }))
  attempt('region.map()', () => region.map({ offset: LENGTH, length: LENGTH, prot: 'rw' }))
  attempt('region.unmap()', () => region.unmap({ ...range, force: true }))
  attempt('region.protect(): read and write', () =>
    region.protect({ ...range, prot: 'rw', force: true }),
  )
  attempt('region.advise(): remove', () => region.advise({ ...range, advice: 'remove' }))
  attempt('region.reopen(): read and write', () => region.reopen('rw'), true)
  attempt(
    'openSync() of /proc/self/fd/N, to write',
    () => openSync(`/proc/self/fd/${FD}`, constants.O_RDWR),
    true,
  )
  attempt('fchmodSync() of it', () => fchmodSync(FD, 0o666), true)

  // The owner's turn; then look at what it wrote.
  console.log('ready')
  for await (const _ of createInterface({ input: process.stdin, terminal: false })) break
  const text = textOf(attachment)
  console.log(`the reader reads: "${text}"`)
  return held && text === 'what the owner wrote later'
}

/** What ends in SIGSEGV, each in a child of its own. */
const FATAL: Record<string, (view: Uint8Array) => void> = {
  'a store': (view) => {
    view[0] = 0
  },
  'Atomics.add()': (view) => {
    Atomics.add(new Int32Array(view.buffer, view.byteOffset, 1), 0, 1)
  },
  'view.set()': (view) => {
    view.set(GRAFFITI)
  },
  'randomFillSync() of it': (view) => {
    randomFillSync(view, 0, 8)
  },
}

function sacrifice(what: string): void {
  using region = Region.fromFd(FD, { access: 'r' })
  becomeNobody()
  using attachment = region.attach()
  FATAL[what]?.(attachment.array(Uint8Array, { length: LENGTH }) as Uint8Array)
}

// The owner.

function startChild(reader: Region<'r'>, args: string[]) {
  // Without the core files of those that die on purpose.
  const command = [process.execPath, fileURLToPath(import.meta.url), ...args]
  const child = spawn('sh', ['-c', 'ulimit -c 0; exec "$@"', 'sh', ...command], {
    stdio: ['pipe', 'pipe', 'inherit', reader.fd],
  })
  const ended = new Promise<string>((resolve) => {
    child.on('close', (code, signal) => resolve(signal ?? `status ${code}`))
  })
  return { child, ended }
}

async function own(): Promise<boolean> {
  let held = true
  // Mode 0444: whoever is handed a descriptor of it cannot open it anew for writing.
  using region = Region.unnamed({ size: '1GiB', mode: 0o444 })
  region.map({ offset: 0, length: LENGTH, prot: 'rw' })
  using attachment = region.attach()
  const write = (text: string) => {
    const bytes = attachment.buffer(0, 64)
    bytes.fill(0)
    bytes.write(text)
  }
  const original = 'what the owner wrote'
  write(original)
  console.log(
    `the owner, process ${process.pid}, attached at 0x${attachment.address.toString(16)}, ` +
      `wrote: "${original}"`,
  )
  using weaker = region.reopen('r')

  const { child, ended } = startChild(weaker, ['reader'])
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
  for await (const line of lines) {
    if (line !== 'ready') {
      console.log(line)
      continue
    }
    console.log('children that are sacrificed:')
    for (const what of Object.keys(FATAL)) {
      const how = await startChild(weaker, ['sacrifice', what]).ended
      held &&= how === 'SIGSEGV'
      console.log(`  ${what.padEnd(46)} ${how === 'status 0' ? 'WENT THROUGH' : how}`)
    }
    console.log("the owner, through the reader's view:")
    let result = 'WENT THROUGH'
    try {
      const memory = openSync(`/proc/${child.pid}/mem`, 'r+')
      writeSync(memory, GRAFFITI, 0, GRAFFITI.length, Number(attachment.address))
      held = false
    } catch (error) {
      result = (error as NodeJS.ErrnoException).code ?? `${error}`
    }
    console.log(`  ${'/proc/PID/mem'.padEnd(46)} ${result}`)
    const now = textOf(attachment)
    held &&= now === original
    console.log(`the owner reads: "${now}"${now === original ? ', unchanged' : '   WRONG'}`)
    write('what the owner wrote later')
    child.stdin?.end('\n')
  }
  held = (await ended) === 'status 0' && held
  console.log(held ? 'nothing went through' : 'SOMETHING WENT THROUGH, or went wrong')
  return held
}

try {
  const [role, what] = process.argv.slice(2)
  if (role === 'sacrifice') sacrifice(what ?? '')
  else process.exitCode = (await (role === 'reader' ? read() : own())) ? 0 : 1
} catch (error) {
  if (!(error instanceof MshareError)) throw error
  console.error(`read-only: ${error.message}`)
  process.exitCode = 1
}
