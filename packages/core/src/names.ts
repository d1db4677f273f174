// SPDX-License-Identifier: MIT
import { closeSync, constants as fs, openSync, readdirSync } from 'node:fs'
import { constants } from 'node:os'
import { getSystemErrorMap } from 'node:util'
import { toMode, toName } from './arguments.js'
import { errnoName, MshareError } from './error.js'
import { call, type Operation } from './operation.js'

export function* unlink(name: string): Operation<void> {
  yield* call('mshare_unlink', [toName(name, 'mshare_unlink')], name)
}

export function* makeDirectory(name: string, mode: number): Operation<void> {
  yield* call('mshare_mkdir', [toName(name, 'mshare_mkdir'), toMode(mode)], name)
}

export function* removeDirectory(name: string): Operation<void> {
  yield* call('mshare_rmdir', [toName(name, 'mshare_rmdir')], name)
}

/** The names of the regions in a directory of the root and below it; '' is the root itself. */
export function* list(directory: string): Operation<string[]> {
  const components = directory === '' ? [] : directory.split('/')
  toName(directory, 'list')
  if (components.some((component) => ['', '.', '..'].includes(component))) {
    throw listError(directory, constants.errno.EINVAL, 'it has an empty, . or .. component')
  }
  const root = (yield* call('mshare_root', [])) as number
  const opened: number[] = []
  try {
    let fd = root
    for (const component of components) {
      fd = openDirectory(fd, component)
      opened.push(fd)
    }
    return [...regions(fd, directory === '' ? '' : `${directory}/`)].sort()
  } catch (error) {
    const { errno } = error as NodeJS.ErrnoException
    if (errno === undefined) throw error
    // Not Node's sentence: its path is one of this process's descriptors.
    throw listError(directory, -errno, describe(errno), error)
  } finally {
    for (const fd of opened) closeSync(fd)
    yield* call('close', [root])
  }
}

/** A file that msharefs has in the root of a mount, and a name that no region can have. */
const RESERVED = 'mshare_info'

function* regions(directory: number, prefix: string): Generator<string> {
  for (const entry of readdirSync(`/proc/self/fd/${directory}`, { withFileTypes: true })) {
    if (entry.isFile() && prefix + entry.name !== RESERVED) yield prefix + entry.name
    if (!entry.isDirectory()) continue
    let fd: number
    try {
      fd = openDirectory(directory, entry.name)
    } catch (error) {
      // Gone since, replaced, or not for us to look into.
      const { code = '' } = error as NodeJS.ErrnoException
      if (['ENOENT', 'ELOOP', 'ENOTDIR', 'EACCES'].includes(code)) continue
      throw error
    }
    try {
      yield* regions(fd, `${prefix}${entry.name}/`)
    } finally {
      closeSync(fd)
    }
  }
}

/** Never through a symbolic link, as the names that libmshare opens. */
function openDirectory(parent: number, component: string): number {
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = fs
  return openSync(`/proc/self/fd/${parent}/${component}`, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
}

/** What the C library says of it, by Node's number. */
function describe(errno: number): string {
  const [, text = errnoName(-errno)] = getSystemErrorMap().get(errno) ?? []
  return text
}

function listError(path: string, errno: number, why: string, cause?: unknown): MshareError {
  return new MshareError(`list: '${path}' cannot be listed: ${why}`, {
    code: errnoName(errno),
    errno,
    syscall: 'list',
    path,
    hint: "Pass the name of a directory, relative to the root, or '' for the root",
    cause,
  })
}
