// SPDX-License-Identifier: MIT

import type { ReadStream, WriteStream } from 'node:tty'
import { toJson } from './text.js'

/** What a command reads and writes; a test has its own. */
export interface Streams {
  stdin: NodeJS.ReadableStream & Partial<Pick<ReadStream, 'isTTY' | 'setRawMode'>>
  stdout: NodeJS.WritableStream &
    Partial<Pick<WriteStream, 'isTTY' | 'columns' | 'rows'>> & { hasColors?(): boolean }
  stderr: NodeJS.WritableStream
}

export class Output {
  /** Results and errors as JSON, a line each. */
  json = false

  constructor(readonly streams: Streams) {}

  /** What somebody asked for: an object to a program, lines to a person. The lines are printable. */
  give(value: object, lines: () => readonly string[]): void {
    const text = this.json ? [toJson(value)] : lines()
    if (text.length > 0) this.streams.stdout.write(`${text.join('\n')}\n`)
  }

  error(line: string): void {
    this.streams.stderr.write(`${line}\n`)
  }

  get terminal(): boolean {
    return Boolean(this.streams.stdout.isTTY)
  }

  /** Node knows of NO_COLOR, FORCE_COLOR and dumb terminals. */
  paint(sgr: number, text: string): string {
    const { isTTY, hasColors } = this.streams.stdout
    const colours = isTTY && hasColors?.call(this.streams.stdout)
    return colours ? `\x1b[${sgr}m${text}\x1b[0m` : text
  }
}
