// SPDX-License-Identifier: MIT
//
// The creator: makes the region and lists the files. It need not live on.

import { type Dirent, readdirSync, realpathSync } from 'node:fs'
import { Region } from '@mshare/core'
import { Index } from './index.js'
import { PATH_MAX } from './layout.js'

/** The regular files below a directory, in the order of their names; paths one character a byte. */
export function* walk(directory: string): Generator<string> {
  let entries: Dirent<Buffer>[]
  try {
    entries = readdirSync(Buffer.from(directory, 'latin1'), {
      withFileTypes: true,
      encoding: 'buffer',
    })
  } catch (error) {
    console.error(`shared-index: left out: ${(error as Error).message}`)
    return
  }
  const named = entries.map((entry) => ({ entry, name: entry.name.toString('latin1') }))
  named.sort((a, b) => (a.name < b.name ? -1 : 1))
  for (const { entry, name } of named) {
    const path = `${directory === '/' ? '' : directory}/${name}`
    if (entry.isDirectory()) yield* walk(path)
    else if (entry.isFile() && path.length <= PATH_MAX) yield path
  }
}

export function absolute(directory: string): string {
  return realpathSync.native(Buffer.from(directory), { encoding: 'buffer' }).toString('latin1')
}

export function create(name: string, window: number, directories: string[]): void {
  const index = Index.create(name, `${window}GiB`)
  try {
    let last = 0
    for (const directory of directories) {
      for (const path of walk(absolute(directory))) last = index.addFile(last, path)
    }
    index.publishFiles()
    console.log(
      `created files=${index.fileCount} base=0x${index.base.toString(16)} ` +
        `window=${index.window} backend=${index.region.info().backend}`,
    )
  } catch (error) {
    Region.unlink(name)
    throw error
  } finally {
    index.close()
  }
}
