// SPDX-License-Identifier: MIT
//
// From what is known to what is printed, and back from what was typed.

/**
 * What a terminal might obey, or show as something else: control characters, what changes the
 * direction of text or cannot be seen, and what is no character. Names in a root, names of programs
 * and messages about them are other people's.
 */
const unprintable = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu

export function isPrintable(text: string): boolean {
  return text.search(unprintable) === -1
}

/** The same text, with escapes such as \u{1b} for what is not to reach a terminal. */
export function printable(text: string): string {
  return text.replace(unprintable, (c) => `\\u{${(c.codePointAt(0) as number).toString(16)}}`)
}

/** One line. What is hostile in a terminal is escaped; addresses are bigints, and become hex. */
export function toJson(value: unknown): string {
  const text = JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? hex(v) : v))
  const unit = (c: string) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`
  return text.replace(unprintable, (c) => c.split('').map(unit).join(''))
}

export const hex = (n: bigint | number) => `0x${n.toString(16)}`

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** Like 64 MiB or 1.5 GiB; not more digits than one can make sense of. */
export function formatBytes(bytes: number): string {
  let n = bytes
  let unit = 0
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024
    unit++
  }
  const digits = Number.isInteger(n) ? n : n.toFixed(n < 100 ? 1 : 0)
  return bytes === 0 ? '0' : `${digits} ${units[unit]}`
}

/** Bytes of 4096, 0x1000, 64M, 64MiB or 1.5GiB; undefined if it is none of these. */
export function parseBytes(text: string): number | undefined {
  if (/^0x[0-9a-f]+$/i.test(text)) return safe(Number(text))
  const match = /^(\d+(?:\.\d+)?) ?(?:([KMGT])(?:iB)?|B)?$/.exec(text)
  if (!match) return undefined
  const power = match[2] ? 'KMGT'.indexOf(match[2]) + 1 : 0
  return safe(Number(match[1]) * 1024 ** power)
}

const safe = (n: number) => (Number.isSafeInteger(n) ? n : undefined)

export const plural = (n: number, one: string, more = `${one}s`) => `${n} ${n === 1 ? one : more}`

/**
 * Columns, right-aligned but for those in `left`; the last is left as it is, for its width is not
 * known: names are in whatever script.
 */
export function table(rows: readonly string[][], left: readonly number[] = []): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, i) => {
        if (i === row.length - 1) return cell
        const width = widths[i] as number
        return left.includes(i) ? cell.padEnd(width) : cell.padStart(width)
      })
      .join('  '),
  )
}
