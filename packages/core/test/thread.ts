// SPDX-License-Identifier: MIT
//
// A worker thread that runs what it is sent.

import { parentPort } from 'node:worker_threads'
import * as core from '@mshare/core'
import { perform } from './perform.js'
import type { Context, Message } from './util.js'

const kept = {} as Context['kept']
parentPort?.on('message', async (message: Message | 'finish') => {
  if (message === 'finish') parentPort?.close()
  else parentPort?.postMessage(await perform({ ...core, kept }, message))
})
