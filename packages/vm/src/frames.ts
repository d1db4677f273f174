// SPDX-License-Identifier: MIT
//
// The frames between runner and guest; guest/init.c lists them.

export function frame(type: string, data: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(5)
  head.write(type, 0, 'latin1')
  head.writeUInt32LE(data.length, 1)
  return Buffer.concat([head, data])
}

/** Input, in frames that fit the guest's buffer. */
export function* inputFrames(data: Buffer): Generator<Buffer> {
  for (let at = 0; at < data.length; at += 32_768) yield frame('I', data.subarray(at, at + 32_768))
}

/** Takes chunks, gives the frames that have become complete. */
export class Frames {
  #rest: Buffer = Buffer.alloc(0);

  *take(chunk: Buffer): Generator<{ type: string; data: Buffer }> {
    this.#rest = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk
    while (this.#rest.length >= 5) {
      const end = 5 + this.#rest.readUInt32LE(1)
      if (this.#rest.length < end) return
      const type = String.fromCharCode(this.#rest[0] as number)
      const data = this.#rest.subarray(5, end)
      this.#rest = this.#rest.subarray(end)
      yield { type, data }
    }
  }
}
