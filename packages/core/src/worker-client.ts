// SPDX-License-Identifier: MIT
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { Argument } from './driver.js'
import { MshareError } from './error.js'
import { type Call, getLibrary, type Outcome } from './library.js'

/** To the worker: what to load, once. */
export interface WorkerSetup {
  readonly path: string
  readonly driver: string
}

/** From the worker: memory comes back as the call has left it. */
export interface Reply {
  readonly outcome: Outcome
  readonly args: readonly Argument[]
}

interface Pending {
  readonly call: Call
  resolve(outcome: Outcome): void
  reject(error: unknown): void
}

let worker: Worker | undefined
/** In the order of the calls, which is that of the replies. */
const pending: Pending[] = []

/**
 * Make a call on the one worker thread of this thread's, after those before it. While one is
 * pending, the process stays alive; an idle worker does not keep it.
 */
export function callInWorker(call: Call): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    worker ??= startWorker()
    worker.postMessage(call)
    pending.push({ call, resolve, reject })
    worker.ref()
  })
}

function startWorker(): Worker {
  // Loaded here first, for errors that say why, and because ffi-napi has to be.
  const { path, driver } = getLibrary()
  const workerData: WorkerSetup = { path, driver }
  // Beside this file, which is .ts where sources are run as they are.
  const extension = extname(import.meta.url)
  const file = new URL(`./worker${extension}`, import.meta.url)
  // Of the program's own options (--input-type, --inspect …) only those that make sources run.
  const execArgv =
    extension === '.ts' ? process.execArgv.filter((_, i, all) => isImport(all, i)) : []
  const started = new Worker(file, { workerData, execArgv, name: 'mshare' })
  started.unref()
  started.on('message', ({ outcome, args }: Reply) => {
    const first = pending.shift()
    if (pending.length === 0) started.unref()
    if (!first) return
    for (const [i, argument] of first.call.args.entries()) {
      if (argument instanceof Uint8Array) argument.set(args[i] as Uint8Array)
    }
    first.resolve(outcome)
  })
  let cause: unknown
  started.on('error', (error) => {
    cause = error
  })
  started.on('exit', (status) => {
    worker = undefined
    const why = cause instanceof Error ? cause.message : `exit status ${status}`
    for (const { reject } of pending.splice(0)) {
      reject(
        new MshareError(`The thread that makes asynchronous calls ended: ${why}`, {
          code: 'ERR_WORKER',
          hint: 'Whether the call was made is not known; the next one starts a new thread',
          cause,
        }),
      )
    }
  })
  return started
}

function isImport(args: string[], i: number): boolean {
  return args[i] === '--import' || args[i - 1] === '--import'
}
