// SPDX-License-Identifier: MIT
//
// npm run demo [-- DIRECTORY]: two writers in C and two in TypeScript build one word index of the
// machine's documentation in one region; a reader in each language follows their pointers and
// answers queries meanwhile. In the end the index is held against an independent count.

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, lstatSync, statfsSync } from 'node:fs'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Region } from '@mshare/core'
import { progress } from './ask.js'
import { count } from './count.js'
import { absolute, walk } from './create.js'
import { expected, Index, IndexError } from './index.js'
import { memoryStatus } from './memory.js'

const C_PROGRAM = fileURLToPath(new URL('../../../c/build/shared-index', import.meta.url))
const TS_PROGRAM = fileURLToPath(new URL('./main.js', import.meta.url))
const COMMANDS = {
  C: [C_PROGRAM],
  TypeScript: [process.execPath, TS_PROGRAM],
} as const
type Language = keyof typeof COMMANDS

// Below this a directory is not much of a library; above, the demo would be no demo.
const ENOUGH = 300
const MOST_FILES = 10_000
// In the guest of npm run vm, whose processor is emulated, everything takes some ten times as long.
const MOST_BYTES = process.env['MSHARE_VM'] ? 20e6 : 150e6
// The index of a directory of compressed files takes up to twice what they take on disk.
const MEMORY_PER_BYTE = 3

const QUERIES = ['kernel', 'shared memory', 'licen*', 'address space', 'pointer', 'process']
const CHECKED = [
  ...['kernel', 'shared', 'memory', 'address', 'space', 'pointer', 'process', 'the'],
  ...['copyright', 'license', 'linux', 'debian', 'free', 'bug', 'mmap', 'page'],
]

const MIB = 2 ** 20
const mib = (bytes: number) => `${(bytes / MIB).toFixed(1)} MiB`
const seconds = (since: number) => `${((performance.now() - since) / 1000).toFixed(1)} s`

/** The fields of a line about memory. */
interface Memory {
  pid: string
  base: string
  tables_before: string
  tables: string
  shared: string
}

/** A process of the demo: one of the two programs, run with some arguments. */
class Peer {
  readonly child: ChildProcess
  readonly done: Promise<void>
  readonly #lines: Interface
  readonly #waiting: ((line: string) => void)[] = []
  /** Its last line about memory: what the index costs it. */
  memory: Memory = { pid: '?', base: '?', tables_before: '?', tables: '?', shared: '?' }
  #gone = false

  constructor(
    readonly language: Language,
    readonly role: string,
    args: string[],
  ) {
    const [program, ...first] = COMMANDS[language]
    this.child = spawn(program, [...first, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
    // It may be gone before it has read everything.
    this.child.stdin?.on('error', () => {})
    this.#lines = createInterface({ input: this.child.stdout as NodeJS.ReadableStream })
    this.#lines.on('line', (line) => {
      if (line.startsWith('memory ')) {
        const fields = line.split(' ').map((field) => field.split('='))
        this.memory = { ...this.memory, ...Object.fromEntries(fields) }
      }
      this.#waiting.shift()?.(line)
    })
    this.done = new Promise((resolve, reject) => {
      this.child.on('error', reject)
      this.child.on('close', (code, signal) => {
        this.#gone = true
        // Whoever waits for an answer now waits in vain.
        for (const waiting of this.#waiting) waiting('(it is gone)')
        if (code === 0) resolve()
        else reject(new IndexError(`the ${role} in ${language} ended with ${code ?? signal}`))
      })
    })
    // It is awaited later; until then a failure is not unhandled.
    this.done.catch(() => {})
  }

  ask(query: string): Promise<string> {
    if (this.#gone) return Promise.resolve('(it is gone)')
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      this.child.stdin?.write(`${query}\n`)
    })
  }
}

const peers: Peer[] = []
let region: string | undefined

function cleanUp(): void {
  for (const { child } of peers) if (child.exitCode === null) child.kill('SIGKILL')
  if (region !== undefined) {
    Region.unlink(region)
    region = undefined
  }
}

// Whatever the end is: done, Ctrl-C, a mistake, or `npm run demo | head`.
process.once('exit', cleanUp)
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  process.once(signal, () => process.exit(code))
}
process.stdout.once('error', () => process.exit(1))

/** How many bytes on disk there is room for the index of. A container often has 64 MiB in all. */
function roomForBytes(): number {
  const root = Region.probe()
  if (!root.available) throw root.error
  const { bavail, bsize, blocks } = statfsSync(root.root)
  const room = blocks === 0 ? Number.POSITIVE_INFINITY : (bavail * bsize) / MEMORY_PER_BYTE
  if (room < MOST_BYTES)
    console.log(`There is little memory in ${root.root}: ${mib(bavail * bsize)}`)
  return Math.min(room, MOST_BYTES)
}

/** The files to index: of the directory that was given, or of the first with enough of them. */
function listFiles(given: string | undefined): string[] {
  const usual = ['/usr/share/doc', '/usr/share', '/usr/include', '/usr/lib']
  const room = roomForBytes()
  let best: { directory: string; files: string[]; bytes: number; more: boolean } | undefined
  for (const directory of given === undefined ? usual.filter(existsSync) : [given]) {
    const files: string[] = []
    let bytes = 0
    let more = false
    for (const path of walk(absolute(directory))) {
      bytes += lstatSync(Buffer.from(path, 'latin1'), { throwIfNoEntry: false })?.size ?? 0
      if (files.length === MOST_FILES || bytes > room) {
        more = true
        break
      }
      files.push(path)
    }
    if (best === undefined || files.length > best.files.length) {
      best = { directory, files, bytes, more }
    }
    if (files.length >= ENOUGH) break
    if (given === undefined) console.log(`${directory} has too few files: ${files.length}`)
  }
  if (best === undefined || best.files.length === 0) throw new IndexError('there are no files')
  const { directory, files, bytes, more } = best
  const which = more ? 'the first ' : ''
  console.log(`Indexing ${which}${files.length} files of ${directory}, ${mib(bytes)} on disk`)
  return files
}

function startPeer(language: Language, role: string, args: string[]): Peer {
  const peer = new Peer(language, role, args)
  peers.push(peer)
  return peer
}

/** Ask both readers, and show what they say: of the files, the first. */
async function askBoth(readers: Peer[], query: string): Promise<boolean> {
  const [one, other] = (await Promise.all(readers.map((reader) => reader.ask(query)))) as [
    string,
    string,
  ]
  const show = (who: string, answer: string) => {
    console.log(`  ${`${who}:`.padEnd(12)}${answer.split(/(?<=\)), /, 1)[0]}`)
  }
  if (one === other) {
    show('both', one)
  } else {
    show('C', one)
    show('TypeScript', other)
  }
  return one === other
}

/** Show how far it is and ask things until the writers are done; the most attachments there were. */
async function watchProgress(index: Index, writers: Peer[], readers: Peer[], start: number) {
  let running = true
  const done = Promise.all(writers.map((writer) => writer.done)).finally(() => {
    running = false
  })
  // It is awaited below; until then a failure is not unhandled.
  done.catch(() => {})
  const terminal = process.stdout.isTTY
  let most = 0
  let asked = 0
  let nextLine = start
  let nextQuery = start + 400
  while (running) {
    const { files, read, bytes } = progress(index)
    const { mapped, attachments } = index.region.info()
    most = Math.max(most, attachments)
    const line =
      `${Math.floor((100 * read) / files)} %  ${read} of ${files} files, ${mib(bytes)} of text, ` +
      `region ${mib(mapped)}, ${seconds(start)}`
    const now = performance.now()
    if (terminal) process.stdout.write(`\r\x1b[K${line}`)
    else if (now >= nextLine) {
      console.log(line)
      nextLine = now + 1000
    }
    if (now >= nextQuery && read > 0 && asked < QUERIES.length) {
      if (terminal) process.stdout.write('\n')
      await askBoth(readers, QUERIES[asked++] as string)
      nextQuery = now + 700
    }
    await Promise.race([done.catch(() => {}), new Promise((wake) => setTimeout(wake, 100))])
  }
  if (terminal) process.stdout.write('\r\x1b[K')
  await done
  return most
}

function showMemory(all: { language: string; role: string; memory: Memory }[]) {
  console.log('\nEvery process has the region at the same address:')
  console.log('  process                     pid  base             page tables   shared memory')
  for (const { language, role, memory } of all) {
    const grown = Number(memory.tables) - Number(memory.tables_before)
    console.log(
      `  ${`${role} in ${language}`.padEnd(22)}${memory.pid.padStart(9)}  ${memory.base}` +
        `${`${memory.tables} KiB`.padStart(14)} (+${grown})`.padEnd(24) +
        `${mib(Number(memory.shared) * 1024).padStart(10)}`,
    )
  }
  console.log('  (page tables: VmPTE, and by how much it has grown since before attaching;')
  console.log('   shared memory: RssShmem; both from /proc/PID/status. On msharefs neither has')
  console.log("   the region's, which are no process's own.)")
}

/** tables: what the C reader's page tables have grown by, KiB; most: of attachments at one time. */
function showBackend(index: Index, attachers: number, tables: number, most: number) {
  const { backend, mapped, resident, pageTableBytes } = index.region.info()
  console.log(`\nThe region: ${mib(mapped)} mapped, ${mib(resident)} of memory, once for all.`)
  if (backend === 'msharefs') {
    const shared = Math.round((pageTableBytes ?? 0) / 1024)
    console.log(
      `Back end: msharefs: ${shared / 4} page tables (${shared} KiB), shared by all: ${most} attachments ` +
        `at a time.\n` +
        `On shm each would have its own: about ${attachers} x ${shared} KiB = ` +
        `${attachers * shared} KiB. An estimate: as if each had\nfollowed every pointer in the index.`,
    )
    return
  }
  console.log(
    `Back end: shm: a set of page tables in every attacher, here about ${attachers} x ${tables} KiB ` +
      `= ${attachers * tables} KiB.\n` +
      `On msharefs there would be one set: about ${tables} KiB. An estimate: ${tables} KiB is what the ` +
      `C reader's\ntables have grown by, which has followed every pointer in the index.`,
  )
}

/** Both readers and the independent count say the same of all words, or the demo has failed. */
async function check(files: string[], readers: Peer[]): Promise<boolean> {
  const start = performance.now()
  const counted = await count(files, CHECKED)
  let wrong = 0
  for (const [word, { files, times }] of counted) {
    const expected = `"${word}": ${files} files, ${times} times`
    for (const reader of readers) {
      const answer = await reader.ask(word)
      if (answer === expected || answer.startsWith(`${expected};`)) continue
      wrong++
      console.log(`  WRONG: the reader in ${reader.language} says ${answer}; counted: ${expected}`)
    }
  }
  console.log(
    `\nChecked: one process counted ${CHECKED.length} words in the files themselves (${seconds(start)}); ` +
      (wrong === 0 ? 'both readers give the same numbers.' : `${wrong} answers are WRONG.`),
  )
  return wrong === 0
}

async function main(): Promise<boolean> {
  const { positionals } = parseArgs({ allowPositionals: true })
  if (!existsSync(C_PROGRAM)) throw new IndexError(`${C_PROGRAM} is not built: npm run build`)
  const files = listFiles(positionals[0])

  const name = `shared-index-demo-${process.pid}`
  const tablesBefore = memoryStatus('VmPTE')
  const index = Index.create(name, '4GiB')
  region = name
  let last = 0
  for (const path of files) last = index.addFile(last, path)
  index.publishFiles()
  console.log(
    `Region "${name}": a window of 4 GiB at 0x${index.base.toString(16)}, back end ` +
      `${index.region.info().backend}\n` +
      'Writers: 2 in C, 2 in TypeScript. Readers: 1 in C, 1 in TypeScript.\n',
  )

  const readers = [startPeer('C', 'reader', ['ask', name])]
  readers.push(startPeer('TypeScript', 'reader', ['ask', name]))
  const writers: Peer[] = []
  for (const language of ['C', 'C', 'TypeScript', 'TypeScript'] as const) {
    writers.push(startPeer(language, 'writer', ['write', name]))
  }
  const start = performance.now()
  const most = await watchProgress(index, writers, readers, start)
  const { read, text, binary, unreadable, tooLarge, bytes } = progress(index)
  console.log(
    `Done: ${read} files in ${seconds(start)}; ${mib(bytes)} of text in ${text} of them, ` +
      `${binary} binary, ${tooLarge} too large, ${unreadable} unreadable left out\n`,
  )
  console.log('The same questions, now that it is done:')
  let same = true
  for (const query of [...QUERIES, '*']) same = (await askBoth(readers, query)) && same
  if (!same) console.log('WRONG: the readers do not agree')
  const right = await check(files, readers)

  for (const reader of readers) await reader.ask('memory?')
  const here = {
    pid: `${process.pid}`,
    base: `0x${index.base.toString(16)}`,
    tables_before: `${tablesBefore}`,
    tables: `${memoryStatus('VmPTE')}`,
    shared: `${memoryStatus('RssShmem')}`,
  }
  showMemory([...writers, ...readers, { language: 'TypeScript', role: 'demo', memory: here }])
  const [{ memory }] = readers as [Peer]
  const grown = Number(memory.tables) - Number(memory.tables_before)
  showBackend(index, peers.length + 1, grown, most)
  for (const peer of readers) {
    peer.child.stdin?.end()
    await peer.done
  }
  index.close()
  return same && right
}

try {
  process.exitCode = (await main()) ? 0 : 1
} catch (error) {
  console.error(`demo: ${expected(error).message}`)
  process.exitCode = 1
}
