// SPDX-License-Identifier: MIT
import { setFlagsFromString } from 'node:v8'
import { compileFunction } from 'node:vm'

type Transferable = ArrayBuffer & { transfer?(length: number): ArrayBuffer }

/**
 * Make a buffer empty, and all views of it: what is touched afterwards is undefined, not memory.
 * Nothing is freed: the buffers here do not own what they show.
 */
export function detachBuffer(buffer: ArrayBuffer): void {
  const { transfer } = buffer as Transferable
  if (transfer) transfer.call(buffer, 0)
  else detachNatively(buffer)
}

/** Node 20: Node marks buffers over foreign memory as untransferable, so V8 itself is asked. */
function detachNatively(buffer: ArrayBuffer): void {
  // Anew each time: V8 may drop a function's code and compile it again when the flag is off.
  const detach = () => compileFunction('%ArrayBufferDetach(buffer)', ['buffer'])(buffer)
  const isSyntaxError = (error: unknown) => (error as Error).name === 'SyntaxError'
  try {
    detach()
    return
  } catch (error) {
    if (!isSyntaxError(error)) throw error
  }
  for (;;) {
    setFlagsFromString('--allow-natives-syntax')
    try {
      detach()
      return
    } catch (error) {
      // The flag is the process's: another thread may just have put it back. Again.
      if (!isSyntaxError(error)) throw error
    } finally {
      setFlagsFromString('--no-allow-natives-syntax')
    }
  }
}
