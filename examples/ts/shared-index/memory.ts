// SPDX-License-Identifier: MIT

import { readFileSync } from 'node:fs'
import type { Index } from './index.js'

/** A field of /proc/PID/status, kB. */
export function memoryStatus(field: string, pid: number | 'self' = 'self'): number {
  const line = new RegExp(`^${field}:\\s*(\\d+) kB$`, 'm')
  return Number(line.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0)
}

/** The line that says what the index costs this process; tables: VmPTE before attaching. */
export function memoryLine(index: Index, tables: number): string {
  return (
    `memory pid=${process.pid} language=TypeScript base=0x${index.base.toString(16)} ` +
    `tables_before=${tables} tables=${memoryStatus('VmPTE')} shared=${memoryStatus('RssShmem')}`
  )
}
