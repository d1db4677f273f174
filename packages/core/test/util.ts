// SPDX-License-Identifier: MIT
import { type ChildProcess, execFileSync, fork, type StdioOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import type * as core from '@mshare/core'
import { afterAll, afterEach, beforeAll, describe, expect } from 'vitest'

export const PAGE = 4096
export const GiB = 2 ** 30

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))
export const SOURCES = path('../../../scripts/sources.mjs')

/** In the guest of `npm run vm`: what scripts/test.mjs has compiled; anywhere else, the source. */
const BUILT = Boolean(process.env['MSHARE_VM'])
const program = (name: string) => path(BUILT ? `../build/${name}.js` : `${name}.ts`)

/** Where roots are made: on which back end that is decides which one is tested. */
const { MSHARE_TEST_BASE, MSHARE_ROOT: OUTER_ROOT } = process.env
export const TEST_BASE = MSHARE_TEST_BASE || OUTER_ROOT || '/dev/shm'

/** For tests of one back end's own ways; others ask the region. The number is msharefs's magic. */
export const ON_MSHAREFS = statfsSync(TEST_BASE).type === 0x6d736872

/** Tests of one back end's own ways: they are where it is the one that is tested. */
export function describeOn(backend: 'msharefs' | 'shm', name: string, tests: () => void): void {
  if (ON_MSHAREFS === (backend === 'msharefs')) describe(`${backend}: ${name}`, tests)
}

/** A root of this test file's own; gone afterwards. Others may look into it. */
export function useRoot(): { path: string } {
  const root = { path: '' }
  const { MSHARE_ROOT } = process.env
  beforeAll(() => {
    root.path = mkdtempSync(`${TEST_BASE}/mshare-ts-`)
    chmodSync(root.path, 0o755)
    Object.assign(process.env, { MSHARE_ROOT: root.path })
  })
  afterAll(() => {
    rmSync(root.path, { recursive: true })
    Reflect.deleteProperty(process.env, 'MSHARE_ROOT')
    if (MSHARE_ROOT !== undefined) Object.assign(process.env, { MSHARE_ROOT })
  })
  return root
}

/** What is thrown, which has to have this code. */
export function thrown(code: string, work: () => unknown): Error & { code: string } {
  let error: unknown
  try {
    work()
  } catch (e) {
    error = e
  }
  expect(error, `nothing was thrown, and ${code} should have been`).toBeInstanceOf(Error)
  expect(error).toHaveProperty('code', code)
  return error as Error & { code: string }
}

export async function rejected(code: string, promise: Promise<unknown>): Promise<void> {
  await expect(promise).rejects.toHaveProperty('code', code)
}

/** What runs elsewhere gets: the package, and a place to keep things in from task to task. */
export type Context = typeof core & {
  kept: { region: core.Region; view: core.Attachment; bytes: Buffer; cells: Int32Array }
}
export type Task<A extends unknown[], T> = (context: Context, ...args: A) => T

export interface Message {
  id: number
  source: string
  args: unknown[]
}
export interface Answer {
  id: number
  value?: unknown
  error?: { name: string; message: string; code?: string }
}

abstract class Remote {
  #next = 0
  readonly #waiting = new Map<number, { resolve(v: unknown): void; reject(e: unknown): void }>()

  protected abstract post(message: Message): void

  protected answer({ id, value, error }: Answer): void {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (error) waiting?.reject(Object.assign(new Error(error.message), error))
    else waiting?.resolve(value)
  }

  protected ended(how: unknown): void {
    for (const { reject } of this.#waiting.values()) reject(new Error(`it ended: ${how}`))
    this.#waiting.clear()
  }

  /** Run a function there. It sees its arguments and nothing of what is around it here. */
  run<A extends unknown[], T>(task: Task<A, T>, ...args: A): Promise<Awaited<T>> {
    const id = this.#next++
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject })
      this.post({ id, source: task.toString(), args })
    })
  }
}

const running = new Set<{ kill(): Promise<void> }>()
afterEach(async () => {
  for (const each of running) await each.kill()
  running.clear()
})

/** Another Node process. It ends with the test. */
export class Peer extends Remote {
  readonly child: ChildProcess
  readonly exit: Promise<[status: number | null, signal: string | null]>

  constructor({ stdio = [], flags = [] }: { stdio?: number[]; flags?: string[] } = {}) {
    super()
    this.child = fork(program('peer'), {
      execArgv: [...(BUILT ? [] : ['--import', SOURCES]), ...flags],
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'inherit', ...stdio, 'ipc'] as StdioOptions,
    })
    this.child.on('message', (answer: Answer) => this.answer(answer))
    this.exit = once(this.child, 'exit') as typeof this.exit
    this.exit.then((how) => this.ended(how))
    running.add(this)
  }

  get pid(): number {
    return this.child.pid as number
  }

  protected post(message: Message): void {
    this.child.send(message)
  }

  /** Run what ends the process; how it ended. */
  async last<A extends unknown[]>(task: Task<A, unknown>, ...args: A) {
    this.run(task, ...args).catch(() => {})
    return this.exit
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal)
  }

  /** Stop it; on return all its threads are. */
  async stop(): Promise<void> {
    this.signal('SIGSTOP')
    const tasks = `/proc/${this.pid}/task`
    const stopped = (tid: string) => / T /.test(readFileSync(`${tasks}/${tid}/stat`, 'latin1'))
    while (!readdirSync(tasks).every(stopped)) await new Promise(setImmediate)
  }

  async kill(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL')
    await this.exit
  }
}

/** A worker thread of this process. It ends with the test. */
export class Thread extends Remote {
  readonly worker = new Worker(program('thread'))
  readonly exit = once(this.worker, 'exit')

  constructor() {
    super()
    this.worker.on('message', (answer: Answer) => this.answer(answer))
    this.worker.on('error', (error) => this.ended(error))
    this.exit.then(([status]) => this.ended(status))
    running.add(this)
  }

  protected post(message: Message): void {
    this.worker.postMessage(message)
  }

  /** Let it come to its own end: no more tasks. */
  async finish(): Promise<void> {
    this.worker.postMessage('finish')
    await this.exit
  }

  async kill(): Promise<void> {
    await this.worker.terminate()
  }
}

let native: string | undefined

/** A process in C: see peer.c for what it can be told. */
export class Native {
  readonly child
  readonly exit: Promise<[status: number | null, signal: string | null]>
  readonly #lines: Interface
  readonly #answers: AsyncIterableIterator<string>

  constructor() {
    native ??= compile()
    this.child = spawn(native, { stdio: ['pipe', 'pipe', 'inherit'] })
    this.exit = once(this.child, 'exit') as typeof this.exit
    // Whoever writes to one that was killed learns it from its answer.
    this.child.stdin.on('error', () => {})
    this.#lines = createInterface({ input: this.child.stdout })
    this.#answers = this.#lines[Symbol.asyncIterator]()
    running.add(this)
  }

  /** Say a line; the line it answers. */
  async ask(...words: (string | number | bigint)[]): Promise<string> {
    this.child.stdin.write(`${words.join(' ')}\n`)
    const { value, done } = await this.#answers.next()
    if (done) throw new Error(`the C peer ended at: ${words.join(' ')}`)
    return value
  }

  /** Say what ends it; how it ended. */
  async last(...words: (string | number | bigint)[]) {
    this.child.stdin.write(`${words.join(' ')}\n`)
    return this.exit
  }

  async kill(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL')
    await this.exit
  }
}

/** Once, not for each run: in a guest whose processor is emulated that takes long. */
function compile(): string {
  const file = path('../build/peer')
  const libmshare = path('../../../libmshare')
  const from = [path('peer.c'), `${libmshare}/build/libmshare.a`]
  const changed = (name: string) => statSync(name, { throwIfNoEntry: false })?.mtimeMs ?? 0
  if (from.every((name) => changed(name) < changed(file))) return file

  const flags = ['-O1', '-g', '-Wall', '-Wextra', '-Werror', '-D_GNU_SOURCE', '-pthread']
  const unfinished = `${file}.${process.pid}`
  mkdirSync(dirname(file), { recursive: true })
  execFileSync('cc', [...flags, `-I${libmshare}/include`, ...from, '-o', unfinished])
  // Several test files may be at it.
  renameSync(unfinished, file)
  return file
}
