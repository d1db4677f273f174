// SPDX-License-Identifier: MIT

export { command } from './command.js'
export { complaint } from './complaints.js'
export { VmError } from './error.js'
export { type Options, type Plan, plan } from './plan.js'
export { type Ended, exitStatus, type Result, type RunOptions, run } from './run.js'
