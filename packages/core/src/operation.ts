// SPDX-License-Identifier: MIT
import type { Argument } from './driver.js'
import { callError } from './error.js'
import { type Call, type CallName, getLibrary, type Outcome } from './library.js'
import { callInWorker } from './worker-client.js'

/**
 * What a method does, written once: a generator that yields the calls of C it needs made.
 * {@link runSync} makes them here, {@link runAsync} on the worker thread.
 */
export type Operation<T> = Generator<Call, T, Outcome>

/** Make one call; throw what it fails with. `path`: the name it is about. */
export function* call(
  name: CallName,
  args: readonly Argument[],
  path?: string,
): Operation<number | bigint> {
  const { value, failure } = yield { name, args }
  if (failure) throw callError(name, failure.errno, failure.message, path)
  return value
}

export function runSync<T>(operation: Operation<T>): T {
  let step = operation.next()
  while (!step.done) {
    let outcome: Outcome
    try {
      outcome = getLibrary().call(step.value)
    } catch (error) {
      step = operation.throw(error)
      continue
    }
    step = operation.next(outcome)
  }
  return step.value
}

export async function runAsync<T>(operation: Operation<T>): Promise<T> {
  let step = operation.next()
  while (!step.done) {
    let outcome: Outcome
    try {
      outcome = await callInWorker(step.value)
    } catch (error) {
      step = operation.throw(error)
      continue
    }
    step = operation.next(outcome)
  }
  return step.value
}
