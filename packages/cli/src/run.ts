// SPDX-License-Identifier: MIT
//
// mshare run, mshare vm: other commands, whose status is passed on.

import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants as fs } from 'node:fs'
import { constants as os } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Region } from '@mshare/core'
import { Failure } from './errors.js'

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, fs.X_OK)
    return true
  } catch {
    return false
  }
}

export function inPath(program: string): string | undefined {
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter(Boolean)
    .map((directory) => join(directory, program))
    .find(isExecutable)
}

const built = fileURLToPath(new URL('../../../libmshare/build/mshare-run', import.meta.url))

/**
 * Where mshare-run is: beside the libmshare in use (a build) or in bin beside its directory (make
 * install, the npm package), built in the checkout that this is in, or in PATH.
 */
export function findRunner(): string | undefined {
  const probe = Region.probe()
  const beside = probe.available
    ? probe.library
    : // Without a root it is not told where it is.
      process.env['MSHARE_LIBRARY']
  const places = beside
    ? ['mshare-run', '../bin/mshare-run'].map((path) => join(dirname(beside), path))
    : []
  places.push(built)
  return places.find(isExecutable) ?? inPath('mshare-run')
}

export interface RunOptions {
  threshold?: string
  log?: string
  quiet?: boolean
}

export async function run(command: string[], options: RunOptions): Promise<number> {
  const runner = findRunner()
  if (!runner) {
    throw new Failure(
      'ENOENT',
      'there is no mshare-run with libmshare, in a build of it, or in PATH',
      'make -C libmshare builds it, and make -C libmshare install puts it into PATH',
    )
  }
  const { threshold, log, quiet } = options
  return pass(runner, [
    ...(threshold === undefined ? [] : ['--threshold', threshold]),
    ...(log === undefined ? [] : ['--log', log]),
    ...(quiet ? ['--quiet'] : []),
    '--',
    ...command,
  ])
}

const signals = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGCONT'] as const
/** The terminal sends these to the command as well. */
const keys = ['SIGINT', 'SIGQUIT'] as const

/** Another program in place of this one, as far as Node can: its streams, signals and status. */
function pass(program: string, args: string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    let child: ChildProcess
    const forward = (signal: NodeJS.Signals) => child.kill(signal)
    const key = (signal: NodeJS.Signals) => {
      if (!process.stdin.isTTY) forward(signal)
    }
    for (const signal of signals) process.on(signal, forward)
    for (const signal of keys) process.on(signal, key)
    // Not before: a signal that came between would end this alone.
    child = spawn(program, args, { stdio: 'inherit' })
    const done = () => {
      for (const signal of signals) process.off(signal, forward)
      for (const signal of keys) process.off(signal, key)
    }
    child.on('error', (error) => {
      done()
      reject(error)
    })
    child.on('close', (status, signal) => {
      done()
      resolve(status ?? 128 + (signal ? os.signals[signal] : 0))
    })
  })
}

/** No guest came to run. */
const NO_GUEST = 122

export async function vm(args: string[], complain: (error: unknown) => void): Promise<number> {
  let command: typeof import('@mshare/vm').command
  try {
    ;({ command } = await import('@mshare/vm'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
    complain(
      new Failure(
        'ENOENT',
        '@mshare/vm, which boots the kernel, is not installed',
        'It comes with a checkout of mshare, where npm run vm does the same',
      ),
    )
    return NO_GUEST
  }
  return command(args, 'mshare vm')
}
