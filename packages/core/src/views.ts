// SPDX-License-Identifier: MIT
import { isMainThread } from 'node:worker_threads'
import { rangeError } from './arguments.js'
import { askMappings } from './asking.js'
import { detachBuffer } from './detach.js'
import { MshareError } from './error.js'
import type { Handle } from './handle.js'
import { getLibrary, longestView } from './library.js'
import { call, type Operation, runSync } from './operation.js'
import type { Access, Mapping } from './types.js'

/** One user of a window in this thread, that has to be dropped. */
interface Use {
  readonly address: bigint
  /** Weakly, so that it can be seen when nobody can touch the window through it any more. */
  readonly views: WeakRef<Views>
}

/** All there are in this thread. */
const uses = new Set<Use>()

/** A change of a region that is being made at present: no views there that it would hurt. */
interface Change extends Span {
  readonly identity: string
  /** The rights it takes away, as in a Prot. */
  readonly taken: string
}

const changes = new Set<Change>()

/** A buffer keeps alive the views it belongs to, so that these go after the last buffer. */
const owners = new WeakMap<ArrayBuffer, Views>()

const forgotten = new FinalizationRegistry<Use>((use) => {
  // Neither the attachment nor a buffer of it can be reached: nobody can touch the window.
  if (uses.delete(use)) dropUse(use)
})

function dropUse({ address }: Use): void {
  getLibrary().call({ name: 'mshare_detach', args: [Number(address)] })
}

let exitHandled = isMainThread

/** A worker thread that ends takes its share of the windows with it; the process goes on. */
function handleExit(): void {
  if (exitHandled) return
  exitHandled = true
  process.on('exit', () => {
    for (const use of uses) {
      use.views.deref()?.detachBuffers()
      dropUse(use)
    }
    uses.clear()
  })
}

/** [start, end) of a region. */
interface Span {
  readonly start: number
  readonly end: number
}

interface Slot extends Span {
  readonly buffer: WeakRef<ArrayBuffer>
}

/** The ArrayBuffers over one attachment, by region offset. */
export class Views {
  readonly #use: Use
  #slots: Slot[] = []
  #attached = true

  constructor(
    readonly handle: Handle,
    readonly address: bigint,
    readonly size: number,
    readonly access: Access,
  ) {
    this.#use = { address, views: new WeakRef(this) }
    uses.add(this.#use)
    forgotten.register(this, this.#use, this)
    handleExit()
  }

  get attached(): boolean {
    return this.#attached
  }

  /**
   * The buffer over the stretch of readable memory that has [offset, offset + length), and where in
   * it that is. Without a length: to the end of the stretch.
   */
  find(
    offset: number,
    length: number | undefined,
  ): { buffer: ArrayBuffer; byteOffset: number; byteLength: number } {
    if (!this.#attached) {
      throw new MshareError(`The attachment of ${this.handle} is detached: it has no views`, {
        code: 'ERR_DETACHED',
        path: this.handle.path,
      })
    }
    const { fd, path, identity } = this.handle
    const stretch = readable(runSync(askMappings(fd, path)), offset)
    const end = length === undefined ? stretch.end : offset + length
    if (stretch.start === stretch.end || end > stretch.end) {
      const hole = stretch.start === stretch.end ? offset : stretch.end
      throw rangeError(
        `No view of ${end - offset} bytes at offset ${offset} of ${this.handle}: ` +
          `nothing readable is mapped at offset ${hole}`,
        'ERR_NOT_MAPPED',
      )
    }
    if (end - offset > longestView) {
      throw rangeError(
        `No view of ${end - offset} bytes at offset ${offset} of ${this.handle}: ` +
          `an ArrayBuffer of this Node has at most ${longestView}; pass a smaller length`,
      )
    }
    for (const change of changes) {
      if (
        change.identity === identity &&
        relies(this, change.taken) &&
        offset < change.end &&
        change.start < end
      ) {
        throw rangeError(
          `No view of ${end - offset} bytes at offset ${offset} of ${this.handle}: ` +
            'an asynchronous call of this thread is about to change what is mapped there',
          'ERR_NOT_MAPPED',
        )
      }
    }
    const slot = this.#slot(stretch, offset, end)
    return { buffer: slot.buffer, byteOffset: offset - slot.start, byteLength: end - offset }
  }

  /**
   * A buffer that has [offset, end): one there is; or a new one over what of the stretch no buffer
   * shows, so that those of memory that grows by and by add up to what there is, which is what the
   * garbage collector is told; or, where that is not enough, over the whole stretch.
   */
  #slot(stretch: Span, offset: number, end: number): Span & { buffer: ArrayBuffer } {
    let { start: low, end: high } = stretch
    let overlap = false
    for (const { start: from, end: to, buffer: weak } of this.#slots) {
      const buffer = weak.deref()
      // What a peer has unmapped a part of, is not handed out again.
      if (!buffer?.byteLength || from < stretch.start || stretch.end < to) continue
      if (from <= offset && end <= to) return { start: from, end: to, buffer }
      if (to <= offset) low = Math.max(low, to)
      else if (end <= from) high = Math.min(high, from)
      else overlap = true
    }
    const { start, end: stop } = fit(overlap ? stretch : { start: low, end: high }, offset, end)
    const buffer = getLibrary().view(this.address + BigInt(start), stop - start)
    owners.set(buffer, this)
    this.#slots = this.#slots.filter((slot) => slot.buffer.deref()?.byteLength)
    this.#slots.push({ start, end: stop, buffer: new WeakRef(buffer) })
    return { start, end: stop, buffer }
  }

  /** The buffers that show a part of the range. */
  *over(start: number, end: number): Generator<ArrayBuffer> {
    for (const slot of this.#slots) {
      const buffer = slot.buffer.deref()
      if (buffer?.byteLength && slot.start < end && start < slot.end) yield buffer
    }
  }

  detachBuffers(): void {
    for (const buffer of this.over(0, Number.MAX_SAFE_INTEGER)) detachBuffer(buffer)
    this.#slots = []
  }

  /** Detach the buffers, then drop the use of the window. Nothing if it was done before. */
  *detach(): Operation<void> {
    if (!this.#attached) return
    this.#attached = false
    this.detachBuffers()
    forgotten.unregister(this)
    uses.delete(this.#use)
    yield* call('mshare_detach', [Number(this.address)], this.handle.path)
  }
}

/** The attachments of this thread that were made through a handle. */
export function viewsThrough(handle: Handle): Views[] {
  return allViews().filter((views) => views.handle === handle)
}

function allViews(): Views[] {
  return [...uses].flatMap(({ views }) => views.deref() ?? [])
}

/** The longest stretch around offset that can be read; empty if offset itself cannot. */
function readable(mappings: Mapping[], offset: number): Span {
  let start = 0
  let end = 0
  for (const mapping of mappings) {
    if (!mapping.prot.includes('r')) continue
    if (mapping.offset !== end) {
      if (offset < end) break
      start = mapping.offset
    }
    end = mapping.offset + mapping.length
  }
  return start <= offset && offset < end ? { start, end } : { start: 0, end: 0 }
}

/** The part of a stretch that one buffer shows: all of it, or as much as a buffer can have. */
function fit(stretch: Span, offset: number, end: number): Span {
  if (stretch.end - stretch.start <= longestView) return stretch
  const start = offset - ((offset - stretch.start) % longestView)
  if (end <= start + longestView) return { start, end: Math.min(start + longestView, stretch.end) }
  return { start: offset, end }
}

/**
 * What a change that takes rights away does before it begins: see to it that no view of this thread
 * relies on them, and that none comes to be until the function that is returned is called.
 * `taken`: which rights, as in a {@link Prot}.
 */
export function beforeChange(
  handle: Handle,
  verb: string,
  {
    offset,
    length,
    force,
    taken,
  }: { offset: number; length: number; force: boolean; taken: string },
): () => boolean {
  const { identity } = handle
  const end = offset + length
  const live = allViews()
    .filter((views) => views.handle.identity === identity)
    .filter((views) => relies(views, taken))
    .flatMap((views) => [...views.over(offset, end)])
  if (live.length > 0 && !force) {
    throw new MshareError(
      `${verb} of ${length} bytes at offset ${offset} of ${handle}: ${live.length} ArrayBuffer(s) ` +
        'of this thread show memory there, and a touch would then kill the process',
      {
        code: 'ERR_VIEW_LIVE',
        path: handle.path,
        hint: 'Detach the attachment, or pass `force: true` to have the buffers detached first',
      },
    )
  }
  for (const buffer of live) detachBuffer(buffer)
  const change = { identity, taken, start: offset, end }
  changes.add(change)
  return () => changes.delete(change)
}

function relies({ access }: Views, taken: string): boolean {
  return [...taken].some((right) => access.includes(right))
}
