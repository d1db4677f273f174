// SPDX-License-Identifier: MIT
/** B11: calls through the FFI drivers, each in a Node of its own, and the same in C. */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Measurement } from './measurement.js'

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url))

export function ffi(quick: boolean): Measurement[] {
  const rounds = quick ? 3 : 9
  const counts = quick ? ['1000', '10000'] : ['5000', '100000']
  const contenders: [string, string[], string?][] = [
    [path('../build/pairs'), []],
    [process.execPath, [path('ffi-calls.js')], 'koffi'],
    [process.execPath, [path('ffi-calls.js')], 'ffi-napi'],
  ]
  const results: Measurement[] = []
  for (let round = 0; round < rounds; round++) {
    for (const [file, args, driver = ''] of contenders) {
      const env = { ...process.env, MSHARE_FFI: driver }
      const text = execFileSync(file, [...args, ...counts], { encoding: 'utf8', env })
      const lines = text.trim().split('\n')
      results.push(...lines.map((line) => ({ ...(JSON.parse(line) as Measurement), round })))
    }
  }
  return results
}
