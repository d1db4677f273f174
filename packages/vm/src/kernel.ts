// SPDX-License-Identifier: MIT

import { spawn } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { VmError } from './error.js'

const build = fileURLToPath(new URL('../../../kernel/scripts/build', import.meta.url))
const variants = ['test', 'debug', 'stock', 'stock-debug']

export interface Kernel {
  /** The vmlinux, there or still to be built. */
  path: string
  built: boolean
}

/** Where the kernel is; with `make`, built if need be, while kernel/scripts/build says so on stderr. */
export async function findKernel(name: string, make: boolean): Promise<Kernel> {
  if (!variants.includes(name)) {
    const path = resolve(name)
    const file = existsSync(path) && statSync(path).isDirectory() ? join(path, 'vmlinux') : path
    if (existsSync(file)) return { path: file, built: true }
    throw new VmError(
      'ERR_OPTION',
      `there is no kernel ${file}; give the path of a vmlinux, or one of ${variants.join(', ')}`,
    )
  }
  const { status, stdout } = await output(build, make ? [name] : ['-n', name])
  const path = join(stdout.trim(), 'vmlinux')
  if (stdout && (status === 0 || !make)) return { path, built: status === 0 }
  throw new VmError(
    'ERR_KERNEL',
    `there is no ${name} kernel: kernel/scripts/build says why, above`,
  )
}

function output(command: string, args: string[]) {
  return new Promise<{ status: number | null; stdout: string }>((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    let stdout = ''
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text
    })
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, stdout }))
  })
}
