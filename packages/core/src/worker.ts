// SPDX-License-Identifier: MIT
//
// The thread that makes the calls of the Async methods: the same calls, and where a call fails its
// errno and sentence are read here, because libmshare keeps them by thread.

import { parentPort, workerData } from 'node:worker_threads'
import { type DriverName, setDriver } from './driver.js'
import { type Call, getLibrary } from './library.js'
import type { Reply, WorkerSetup } from './worker-client.js'

const { path, driver } = workerData as WorkerSetup
// As in the thread that started this one, which may have chosen by setDriver().
setDriver(driver as DriverName)
const library = getLibrary(path)

parentPort?.on('message', (call: Call) => {
  const reply: Reply = { outcome: library.call(call), args: call.args }
  parentPort?.postMessage(reply)
})
