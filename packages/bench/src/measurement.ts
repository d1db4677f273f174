// SPDX-License-Identifier: MIT

/** One round of one contender, as the programs in c/ print it. */
export interface Measurement {
  id: string
  contender: string
  n: number
  round: number
  value: number
  unit: string
}

const sorted = (values: number[]) => [...values].sort((a, b) => a - b)

export function median(values: number[]): number {
  const s = sorted(values)
  const middle = s.length >> 1
  return s.length % 2
    ? (s[middle] as number)
    : ((s[middle - 1] as number) + (s[middle] as number)) / 2
}

export function spread(values: number[]): [number, number] {
  const s = sorted(values)
  return [s[0] as number, s.at(-1) as number]
}
