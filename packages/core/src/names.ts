// SPDX-License-Identifier: MIT
import { closeSync, constants, type Dirent, openSync, readdirSync } from 'node:fs'
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
    throw listError(directory, 'EINVAL', 'a name is relative, without empty, . and .. components')
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
    const { errno, message } = error as NodeJS.ErrnoException
    if (errno === undefined) throw error
    throw listError(directory, errnoName(-errno), message, error)
  } finally {
    for (const fd of opened) closeSync(fd)
    yield* call('close', [root])
  }
}

function* regions(directory: number, prefix: string): Generator<string> {
  let entries: Dirent[]
  entries = readdirSync(`/proc/self/fd/${directory}`, { withFileTypes: true })
  for (const entry of entries) {
    if (entry.isFile()) yield prefix + entry.name
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
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants
  return openSync(`/proc/self/fd/${parent}/${component}`, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
}

function listError(path: string, code: string, why: string, cause?: unknown): MshareError {
  const errno = (cause as NodeJS.ErrnoException | undefined)?.errno
  return new MshareError(`list: '${path}' cannot be listed: ${why}`, {
    code,
    errno: errno === undefined ? constantsErrno(code) : -errno,
    syscall: 'list',
    path,
    cause,
  })
}

function constantsErrno(code: string): number | undefined {
  return code === 'EINVAL' ? 22 : undefined
}
