// SPDX-License-Identifier: MIT
//
// One process maps, protects and unmaps while others watch it happen.
//
// JavaScript cannot catch SIGSEGV, as the watchers of examples/c/live-remap do, so a watcher asks
// the region what is mapped and touches only that. In the end one of them touches memory that was
// taken away, through a view it has had all along, and dies of it, as a thread would: that is what
// attaching means.

import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { MshareError, Region } from '@mshare/core'

const LENGTH = 64 * 1024
const WATCHERS = 3
// What the driver maps at offset 0: 32 bytes of text, a u32 for each watcher to store to.
const STORES = 32

// A watcher.

async function watch(name: string, number: number): Promise<void> {
  using region = Region.open(name)
  using attachment = region.attach()
  let old: Uint8Array | undefined
  console.log(`attached at 0x${attachment.address.toString(16)}`)

  const look = (): string => {
    const mapping = region.mappings().find(({ offset }) => offset === 0)
    if (mapping === undefined) return 'a hole'
    if (!mapping.prot.includes('r')) return 'mapped, no access'
    const bytes = attachment.buffer(0, LENGTH)
    const text = bytes.toString('utf8', 0, bytes.indexOf(0))
    old = bytes
    if (!mapping.prot.includes('w')) return `readable: "${text}"`
    const stores = attachment.array(Uint32Array, { offset: STORES, length: WATCHERS })
    Atomics.add(stores, number, 1)
    return `readable and writable: "${text}"`
  }

  for await (const line of createInterface({ input: process.stdin, terminal: false })) {
    if (line === 'look') console.log(look())
    else console.log(`survived: it read ${old?.[0]}`)
  }
}

// The driver.

class Watcher {
  readonly child: ChildProcess
  readonly #lines: Interface
  readonly ended: Promise<string>

  constructor(name: string, number: number) {
    // Without a core file of the one that dies on purpose.
    const command = [process.execPath, fileURLToPath(import.meta.url), 'watch', name, `${number}`]
    this.child = spawn('sh', ['-c', 'ulimit -c 0; exec "$@"', 'sh', ...command], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.#lines = createInterface({ input: this.child.stdout as NodeJS.ReadableStream })
    this.ended = new Promise((resolve) => {
      this.child.on('close', (code, signal) => resolve(signal ?? `status ${code}`))
    })
  }

  hear(): Promise<string> {
    const line = new Promise<string>((resolve) => this.#lines.once('line', resolve))
    return Promise.race([line, this.ended.then((how) => `the watcher is gone: ${how}`)])
  }

  ask(what: string): Promise<string> {
    const line = this.hear()
    this.child.stdin?.write(`${what}\n`)
    return line
  }
}

async function drive(name: string): Promise<boolean> {
  let right = true
  using region = Region.create(name, { size: '1GiB', mode: 0o600 })
  const watchers: Watcher[] = []
  try {
    console.log(
      `region "${name}": a window of 1 GiB at 0x${region.info().base.toString(16)}, ` +
        `${WATCHERS} watchers`,
    )
    for (let i = 0; i < WATCHERS; i++) {
      const watcher = new Watcher(name, i)
      watchers.push(watcher)
      const line = await watcher.hear()
      console.log(`    watcher ${i + 1}, process ${watcher.child.pid}: ${line}`)
    }
  } finally {
    // Everybody who must find it by name has done so.
    Region.unlink(name)
  }
  using attachment = region.attach()
  const say = (text: string) => {
    const bytes = attachment.buffer(0, 32)
    bytes.fill(0)
    bytes.write(text)
  }

  /** All watchers look, when the change has returned; they must see it in force. */
  const look = async (step: string, expected: string, from = 0): Promise<void> => {
    console.log(step)
    for (const [i, watcher] of watchers.entries()) {
      if (i < from) continue
      const line = await watcher.ask('look')
      const same = line === expected
      right &&= same
      console.log(`    watcher ${i + 1}: ${line}${same ? '' : `   WRONG, must be: ${expected}`}`)
    }
  }

  await look('nothing is mapped', 'a hole')

  region.map({ offset: 0, length: LENGTH, prot: 'rw' })
  say('first')
  await look('map 64 KiB, read and write; store "first"', 'readable and writable: "first"')

  say('second')
  // force: this process has views of it too, which are detached.
  region.protect({ offset: 0, length: LENGTH, prot: 'r', force: true })
  await look('store "second"; protect: read', 'readable: "second"')

  region.protect({ offset: 0, length: LENGTH, prot: 'none', force: true })
  await look('protect: none', 'mapped, no access')

  region.protect({ offset: 0, length: LENGTH, prot: 'rw', force: true })
  await look(
    'protect: read and write; the contents are still there',
    'readable and writable: "second"',
  )

  region.unmap({ offset: 0, length: LENGTH, force: true })
  await look('unmap', 'a hole')

  region.map({ offset: 0, length: LENGTH, prot: 'rw' })
  await look('map again: new memory, zeroed', 'readable and writable: ""')

  region.unmap({ offset: 0, length: LENGTH, force: true })
  const [first, ...others] = watchers
  console.log('unmap; watcher 1 reads through the view it has, without asking')
  const said = await first?.ask('touch')
  console.log(`    watcher 1: ${said}`)
  right &&= said === 'the watcher is gone: SIGSEGV'
  await look('the others ask first', 'a hole', 1)

  for (const watcher of others) {
    watcher.child.stdin?.end()
    right &&= (await watcher.ended) === 'status 0'
  }
  console.log(right ? 'every watcher saw every change' : 'a watcher saw something else')
  return right
}

try {
  const [role, name, number] = process.argv.slice(2)
  if (role === 'watch' && name !== undefined) await watch(name, Number(number))
  else process.exitCode = (await drive(role ?? 'live-remap')) ? 0 : 1
} catch (error) {
  if (!(error instanceof MshareError)) throw error
  console.error(`live-remap: ${error.message}`)
  process.exitCode = 1
}
