// SPDX-License-Identifier: MIT
import { fstatSync } from 'node:fs'
import { MshareError } from './error.js'
import { getLibrary } from './library.js'
import type { Access } from './types.js'

/** A descriptor of a region, and who uses it. */
export class Handle {
  /** Tells whether two descriptors are of one region. */
  readonly identity: string
  readonly #fd: number
  #users = 0
  #closed = false

  constructor(
    fd: number,
    readonly access: Access,
    readonly path: string | undefined,
  ) {
    const { dev, ino } = fstatSync(fd, { bigint: true })
    this.identity = `${dev}:${ino}`
    this.#fd = fd
  }

  get closed(): boolean {
    return this.#closed
  }

  get fd(): number {
    if (!this.#closed) return this.#fd
    throw new MshareError(`${this} is closed`, { code: 'ERR_CLOSED', path: this.path })
  }

  /** Hold the descriptor open while an asynchronous call may use it. */
  async use<T>(work: () => Promise<T>): Promise<T> {
    this.#users++
    try {
      return await work()
    } finally {
      this.#users--
      this.#closeIfUnused()
    }
  }

  /** Nobody can use it from now on; the descriptor goes when those who do are done. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#closeIfUnused()
  }

  #closeIfUnused(): void {
    if (!this.#closed || this.#users > 0) return
    getLibrary().call({ name: 'close', args: [this.#fd] })
  }

  toString(): string {
    return this.path === undefined
      ? `the region of descriptor ${this.#fd}`
      : `region '${this.path}'`
  }
}
