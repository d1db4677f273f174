// SPDX-License-Identifier: MIT

// For whoever compiles against this without asking for Node's types: buffers are Node's.
/// <reference types="node" preserve="true" />

export { Attachment, type ReadonlyAttachment } from './attachment.js'
export {
  type ArgumentType,
  type Driver,
  type DriverName,
  type NativeFunction,
  type NativeLibrary,
  type ResultType,
  type Signatures,
  setDriver,
} from './driver.js'
export { MshareError } from './error.js'
export { Region } from './region.js'
export type * from './types.js'
