// SPDX-License-Identifier: MIT
//
// mshare ls, info, maps

import { join } from 'node:path'
import type { Output } from './output.js'
import { key, users } from './processes.js'
import { identify, needWindow, open, place, type Seen, seen, survey } from './regions.js'
import { formatBytes, hex, plural, printable, table } from './text.js'

export const stateTexts: Record<Seen['state'], string> = {
  ready: '',
  'no-window': 'no window yet',
  damaged: 'damaged',
  'no-region': 'no region',
  closed: 'closed to you',
}

export function nameAndState({ name, state }: Seen): string {
  return printable(name) + (state === 'ready' ? '' : `  (${stateTexts[state]})`)
}

export function ls(output: Output, directory: string, { all }: { all: boolean }): void {
  const { root, backend } = place()
  const regions = survey(directory, all)
  output.give({ root, backend, regions }, () => {
    if (regions.length === 0) return output.terminal ? [`No regions in ${printable(root)}.`] : []
    const rows = regions.map((region) => {
      const { state, window, mapped, resident, attachments } = region
      const numbers =
        state === 'ready'
          ? [formatBytes(window), formatBytes(mapped), formatBytes(resident), `${attachments}`]
          : ['-', '-', '-', '-']
      return [...numbers, nameAndState(region)]
    })
    return table([['WINDOW', 'MAPPED', 'RESIDENT', 'ATTACHED', 'NAME'], ...rows])
  })
}

export function info(output: Output, name: string): void {
  const { root } = place()
  using region = open(name)
  const info = region.info()
  const about = seen(name, region, info)
  const { uid, gid, mode, ...identity } = identify(region)
  const { of, hidden } = users(new Map([[key(identity), info.window]]))
  const processes = of.get(key(identity)) ?? []
  const { backend, sharedPageTables } = info
  const octal = `0${mode.toString(8).padStart(3, '0')}`
  const file = join(root, name)
  const result = {
    ...{ ...about, file, uid, gid, mode: octal, backend, sharedPageTables },
    ...{ processes, hiddenProcesses: hidden },
  }
  output.give(result, () => {
    const tables =
      about.pageTableBytes === null
        ? `each attacher has its own: ${formatBytes(about.unsharedPageTableBytes)} in all, at most`
        : `${formatBytes(about.pageTableBytes)}, shared; unshared at most ` +
          formatBytes(about.unsharedPageTableBytes)
    const rows = [
      ['name', printable(name)],
      ['file', printable(file)],
      ['owner', `uid ${uid}, gid ${gid}, mode ${octal}`],
      ['back end', backend],
      ['window', info.window ? `${formatBytes(info.window)} at ${hex(info.base)}` : 'none yet'],
      ['mapped', `${formatBytes(info.mapped)} in ${plural(info.mappings, 'mapping')}`],
      ['resident', formatBytes(info.resident)],
      ['page tables', tables],
      ['changes', `${info.generation}`],
      [
        'attachments',
        info.stragglers
          ? `${info.attachments}, of which ${info.stragglers} not up to date`
          : `${info.attachments}`,
      ],
    ]
    const list = processes.map(({ pid, uid, attached, descriptors, command }) => [
      ...[`${pid}`, `${uid}`, `${descriptors}`, attached.map(hex).join(' ') || '-'],
      printable(command),
    ])
    return [
      ...table(rows, [0]),
      ...(list.length > 0
        ? ['', ...table([['PID', 'UID', 'OPEN', 'ATTACHED AT', 'COMMAND'], ...list], [3])]
        : []),
      ...(hidden > 0
        ? ['', `${plural(hidden, 'process', 'processes')} may not be looked into`]
        : []),
    ].map((line) => line.trimEnd())
  })
}

/** As /proc/PID/maps of an attacher has it, whichever back end it is. */
export function maps(output: Output, name: string): void {
  using region = open(name)
  const info = region.info()
  needWindow(name, info)
  const mappings = region.mappings().map((mapping) => {
    const { offset, length, prot, reserve, hugetlb } = mapping
    return { address: info.base + BigInt(offset), offset, length, prot, reserve, hugetlb }
  })
  output.give({ name, window: info.window, base: info.base, mappings }, () => {
    const width = hex(info.window).length - 2
    return mappings.map(({ address, offset, length, prot, reserve, hugetlb }) => {
      const flag = (letter: string) => (prot.includes(letter) && prot !== 'none' ? letter : '-')
      const [start, end] = [address, address + BigInt(length)].map((n) => n.toString(16))
      return [
        `${start}-${end} ${flag('r')}${flag('w')}${flag('x')}s`,
        `${offset.toString(16).padStart(width, '0')} ${formatBytes(length).padStart(8)}`,
        ...(reserve ? [] : ['noreserve']),
        ...(hugetlb ? ['hugetlb'] : []),
      ].join(' ')
    })
  })
}
