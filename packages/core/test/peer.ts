// SPDX-License-Identifier: MIT
//
// A process that runs what it is sent.

import * as core from '@mshare/core'
import { perform } from './perform.js'
import type { Context, Message } from './util.js'

const kept = {} as Context['kept']
process.on('message', async (message: Message) => {
  const answer = await perform({ ...core, kept }, message)
  // Some tasks are about a process that nobody talks to any more.
  if (process.connected) process.send?.(answer)
})
