// SPDX-License-Identifier: MIT
import { createRequire } from 'node:module'
import type { Driver, NativeFunction } from './driver.js'
import { MshareError } from './error.js'

type Koffi = typeof import('koffi')

const types = { int: 'int', size_t: 'size_t', memory: 'void *', string: 'str' } as const

export function koffiDriver(): Driver {
  let koffi: Koffi
  try {
    // Not an import: importing this package loads nothing.
    koffi = createRequire(import.meta.url)('koffi') as Koffi
  } catch (cause) {
    throw new MshareError('koffi, which calls C, does not load', {
      code: 'ERR_DRIVER',
      hint: 'Its prebuilt part is an optional dependency: npm install without --omit=optional',
      cause,
    })
  }
  return {
    name: 'koffi',
    load(path, signatures) {
      const library = koffi.load(path)
      const functions: Record<string, NativeFunction> = {}
      for (const [name, [result, args]] of Object.entries(signatures)) {
        const call = library.func(
          name,
          types[result],
          args.map((type) => types[type]),
        )
        // It gives a number for a size_t that fits one.
        functions[name] = result === 'size_t' ? (...values) => BigInt(call(...values)) : call
      }
      return { functions, view: (address, length) => koffi.view(address, length) }
    },
  }
}
