// SPDX-License-Identifier: MIT
//
// The archive that a kernel unpacks into its first root ("newc", buffer-format.rst of Linux).

export interface Entry {
  name: string
  mode: number
  data?: Buffer
  /** Major and minor number, of a device. */
  device?: [number, number]
}

export function cpio(entries: Entry[]): Buffer {
  const parts: Buffer[] = []
  let size = 0
  const add = (part: Buffer) => {
    const padding = Buffer.alloc(-part.length & 3)
    parts.push(part, padding)
    size += part.length + padding.length
  }
  const member = (
    { name, mode, data = Buffer.alloc(0), device = [0, 0] }: Entry,
    inode: number,
  ) => {
    const numbers = [
      ...[inode, mode, 0, 0, 1, 0, data.length],
      ...[0, 0, ...device, Buffer.byteLength(name) + 1, 0],
    ]
    const header = numbers.map((n) => n.toString(16).padStart(8, '0')).join('')
    add(Buffer.from(`070701${header}${name}\0`))
    add(data)
  }
  for (const [i, entry] of entries.entries()) member(entry, i + 1)
  member({ name: 'TRAILER!!!', mode: 0 }, 0)
  return Buffer.concat(parts, size)
}
