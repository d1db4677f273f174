// SPDX-License-Identifier: MIT
//
// What is particular to ffi-napi. The suite of @mshare/core runs on it as a whole, too.

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'

const run = promisify(execFile)
const url = (path: string) => new URL(path, import.meta.url)
// In the guest of `npm run vm`, what was built.
const built = Boolean(process.env['MSHARE_VM'])
const core = url(built ? '../../core/dist/index.js' : '../../core/src/index.ts').href
const sources = built ? [] : ['--import', fileURLToPath(url('../../../scripts/sources.mjs'))]

let root: string
beforeAll(() => {
  const { MSHARE_TEST_BASE, MSHARE_ROOT } = process.env
  root = mkdtempSync(`${MSHARE_TEST_BASE || MSHARE_ROOT || '/dev/shm'}/mshare-ffi-`)
})
afterAll(() => rmSync(root, { recursive: true }))

async function program(source: string): Promise<string> {
  const args = ['--expose-gc', ...sources, '--input-type=module', '-e', source]
  const env = { ...process.env, MSHARE_FFI: 'ffi-napi', MSHARE_ROOT: root }
  const { stdout } = await run(process.execPath, args, { env })
  return stdout.trim()
}

const attached = `
  const { Region } = await import('${core}')
  const region = Region.unnamed({ size: '4GiB' })
  region.map({ length: 65536 })
  const base = region.attach()`

test('ArrayBuffers have the length asked for, and not 1 GiB', async () => {
  expect(await program(`${attached}\nconsole.log(base.buffer().buffer.byteLength)`)).toBe('65536')
})

test('a view can be had again at the address of one that was detached', async () => {
  const source = `${attached}
    let sum = 0
    for (let i = 0; i < 50; i++) {
      const view = region.attach()
      const array = view.array(Int32Array)
      sum += array.length
      array[0]++
      view.detach()
      if (i % 10 === 0) { gc(); await new Promise(setImmediate) }
    }
    console.log(sum, base.array(Int32Array)[0])`
  expect(await program(source)).toBe(`${50 * 16384} 50`)
})

test('a failure costs no external memory: the sentence is copied', async () => {
  const source = `${attached}
    const before = process.memoryUsage().external
    for (let i = 0; i < 50; i++) try { region.map({ offset: 0, length: 4096 }) } catch {}
    console.log(process.memoryUsage().external - before < 2 ** 24)`
  expect(await program(source)).toBe('true')
})

test('MAP_FAILED, the greatest size_t, is seen', async () => {
  const source = `${attached}
    try { region.attach({ prot: 'r' }) } catch (error) { console.log(error.code) }`
  expect(await program(source)).toBe('EADDRINUSE')
})

test('loaded in the main thread first, a worker can use it and end', async () => {
  const source = `
    const { Worker } = await import('node:worker_threads')
    const { Region } = await import('${core}')
    Region.probe()
    const worker = new Worker(\`
      import('${core}').then(({ Region }) => {
        const region = Region.unnamed({ size: '1GiB' })
        region.map({ length: 4096 })
        console.log(region.attach().array(Int32Array).length)
      })\`, { eval: true })
    worker.on('exit', (status) => console.log('exit', status))`
  expect(await program(source)).toBe('1024\nexit 0')
})

test('loaded in a worker first, it would crash at the end: ERR_DRIVER instead', async () => {
  const source = `
    const { Worker } = await import('node:worker_threads')
    const worker = new Worker(\`
      import('${core}').then(({ Region }) => Region.unnamed({ size: '1GiB' })).catch((e) => console.log(e.code, e.message))\`,
      { eval: true })
    worker.on('exit', (status) => console.log('exit', status))`
  expect(await program(source)).toMatch(/^ERR_DRIVER .*main thread first.*\nexit 0$/)
})
