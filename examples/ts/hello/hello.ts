// SPDX-License-Identifier: MIT
//
// Two unrelated processes, one region. Run it twice: the first run makes the region and leaves a
// note in it, the second finds both, by following a pointer that the first one stored.
// `hello.js --rm` removes the name.
//
// examples/c/hello does the same; the two find each other's notes.

import { MshareError, Region } from '@mshare/core'

// What is in the region. A pointer is an address: everybody attaches at the base.
const READY = 0 // u64: 1, what follows is set up
const USED = 8 // u64: bytes of the mapping that are taken
const NEWEST = 16 // pointer to a note
const HEADER_SIZE = 24
// A note: pointer to the next one, u32 process, u32 length, text.
const NOTE_SIZE = 16

const MAPPED = 64 * 1024

function sleep1ms(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
}

function openOrMake(name: string): { region: Region; made: boolean } {
  try {
    const region = Region.create(name, { size: '1GiB', mode: 0o600 })
    region.map({ offset: 0, length: MAPPED, prot: 'rw' })
    return { region, made: true }
  } catch (error) {
    if (!(error instanceof MshareError && error.code === 'EEXIST')) throw error
    return { region: Region.open(name), made: false }
  }
}

/** Until `done`, or for 5 s: the region's maker may be at work at this very moment. */
function waitUntil(done: () => boolean): void {
  for (let ms = 0; ms < 5000; ms++) {
    if (done()) return
    sleep1ms()
  }
  throw new Error('nobody finished setting the region up; --rm removes it')
}

function main(): void {
  const remove = process.argv[2] === '--rm'
  const name = process.argv[remove ? 3 : 2] ?? 'hello'
  if (remove) {
    Region.unlink(name)
    return
  }

  const { region, made } = openOrMake(name)
  using _ = region
  if (!made) waitUntil(() => region.info().mapped >= MAPPED)
  using attachment = region.attach()
  const base = attachment.address
  const hex = (address: bigint) => `0x${address.toString(16)}`

  const bytes = attachment.buffer(0, MAPPED)
  const cells = attachment.array(BigUint64Array, { offset: 0, length: MAPPED / 8 })
  if (made) {
    Atomics.store(cells, USED / 8, BigInt(HEADER_SIZE))
    Atomics.store(cells, READY / 8, 1n)
  } else {
    waitUntil(() => Atomics.load(cells, READY / 8) === 1n)
  }
  console.log(
    `process ${process.pid} ${made ? 'made' : 'found'} region "${name}": ` +
      `a window of 1 GiB at ${hex(base)}`,
  )

  let note = Atomics.load(cells, NEWEST / 8)
  while (note !== 0n) {
    // An address, as another process stored it; here it is the same.
    const at = Number(note - base)
    const length = bytes.readUInt32LE(at + 12)
    const text = bytes.toString('utf8', at + NOTE_SIZE, at + NOTE_SIZE + length)
    console.log(`a note at ${hex(note)}: "${text}"`)
    note = bytes.readBigUInt64LE(at)
  }

  const text = Buffer.from(`hello from process ${process.pid}, in TypeScript`)
  const size = Math.ceil((NOTE_SIZE + text.length) / 8) * 8
  const at = Number(Atomics.add(cells, USED / 8, BigInt(size)))
  if (at + size > MAPPED) throw new Error('the region is full of notes; --rm removes it')
  bytes.writeUInt32LE(process.pid, at + 8)
  bytes.writeUInt32LE(text.length, at + 12)
  text.copy(bytes, at + NOTE_SIZE)
  const mine = base + BigInt(at)
  for (;;) {
    const newest = Atomics.load(cells, NEWEST / 8)
    bytes.writeBigUInt64LE(newest, at)
    if (Atomics.compareExchange(cells, NEWEST / 8, newest, mine) === newest) break
  }
  console.log(`left a note at ${hex(mine)}: "${text}"`)
}

try {
  main()
} catch (error) {
  console.error(`hello: ${(error as Error).message}`)
  process.exitCode = 1
}
