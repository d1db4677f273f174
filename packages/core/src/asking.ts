// SPDX-License-Identifier: MIT
import { constants } from 'node:os'
import { callError } from './error.js'
import { call, type Operation } from './operation.js'
import {
  infoBytes,
  mappingBytes,
  readInfo,
  readMapping,
  readSize,
  sizeBytes,
  writeSize,
} from './structs.js'
import type { Mapping, RegionInfo } from './types.js'

export function* askInfo(fd: number, path?: string): Operation<RegionInfo> {
  const memory = new Uint8Array(infoBytes)
  yield* call('mshare_info', [fd, memory, infoBytes], path)
  return readInfo(memory)
}

export function* askMappings(fd: number, path?: string): Operation<Mapping[]> {
  for (let room = 64; ; ) {
    const memory = new Uint8Array(room * mappingBytes)
    const count = new Uint8Array(sizeBytes)
    writeSize(count, room)
    const { failure } = yield {
      name: 'mshare_mappings',
      args: [fd, memory, mappingBytes, count],
    }
    const number = readSize(count)
    if (!failure) return Array.from({ length: number }, (_, i) => readMapping(memory, i))
    if (failure.errno !== constants.errno.ERANGE) {
      throw callError('mshare_mappings', failure.errno, failure.message, path)
    }
    // There may be more of them when we ask again.
    room = number + 64
  }
}
