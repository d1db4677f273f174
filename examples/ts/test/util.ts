// SPDX-License-Identifier: MIT

import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, statfsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect } from 'vitest'

export const LANGUAGES = ['C', 'TypeScript'] as const
export type Language = (typeof LANGUAGES)[number]

/** The command line of an example. */
export function command(language: Language, example: string, main = example): string[] {
  const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))
  return language === 'C'
    ? [path(`../../c/build/${example}`)]
    : [process.execPath, path(`../dist/${example}/${main}.js`)]
}

const running = new Set<Process>()

/** A process that is ended with the test, by its pid. */
export class Process {
  readonly #child
  /** Exit status or signal, and what it printed, one character a byte. */
  readonly ended: Promise<{ how: number | string; output: string; errors: string }>
  readonly #waiting: ((line: string) => void)[] = []
  readonly #lines: string[] = []
  #gone = false

  constructor(args: string[]) {
    const [program, ...rest] = args
    if (program === undefined) throw new Error('no program')
    this.#child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'pipe'] })
    running.add(this)
    let output = ''
    let errors = ''
    this.#child.stdout.setEncoding('latin1').on('data', (text) => {
      output += text
    })
    this.#child.stderr.setEncoding('latin1').on('data', (text) => {
      errors += text
    })
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const waiting = this.#waiting.shift()
      if (waiting) waiting(line)
      else this.#lines.push(line)
    })
    // It may be gone before it has read everything.
    this.#child.stdin.on('error', () => {})
    this.ended = new Promise((resolve, reject) => {
      this.#child.on('error', reject)
      this.#child.on('close', (code, signal) => {
        running.delete(this)
        this.#gone = true
        for (const waiting of this.#waiting) waiting('(the process has ended)')
        resolve({ how: signal ?? code ?? 'nothing', output, errors })
      })
    })
  }

  line(): Promise<string> {
    const line = this.#lines.shift()
    if (line !== undefined) return Promise.resolve(line)
    if (this.#gone) return Promise.resolve('(the process has ended)')
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  ask(line: string): Promise<string> {
    this.#child.stdin.write(`${line}\n`)
    return this.line()
  }

  end(): void {
    this.#child.stdin.end()
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }
}

export async function run(args: string[]) {
  const process = new Process(args)
  process.end()
  return process.ended
}

/** Run something that must succeed; what it printed. */
export async function output(args: string[]): Promise<string> {
  const { how, output, errors } = await run(args)
  expect(`${how} ${errors}`, args.join(' ')).toBe('0 ')
  return output
}

/** On which back end this directory is decides which one is tested. */
const base = process.env['MSHARE_TEST_BASE'] || process.env['MSHARE_ROOT'] || '/dev/shm'

/** The number is msharefs's magic. */
export const ON_MSHAREFS = statfsSync(base).type === 0x6d736872

/** Every test has a root of its own, in which nothing may be left. */
export function ownRoot(): void {
  let root: string
  let before: string | undefined
  beforeEach(() => {
    before = process.env['MSHARE_ROOT']
    root = mkdtempSync(`${base}/mshare-examples-`)
    process.env['MSHARE_ROOT'] = root
  })
  afterEach(async () => {
    const left = [...running]
    for (const process of left) process.kill('SIGKILL')
    await Promise.all(left.map((process) => process.ended))
    if (before === undefined) delete process.env['MSHARE_ROOT']
    else process.env['MSHARE_ROOT'] = before
    const names = readdirSync(root)
    rmSync(root, { recursive: true })
    expect(names, 'regions left in the root').toEqual([])
  })
}
