// SPDX-License-Identifier: MIT
import { rangeError, toBytes, toInteger, toOptions, typeError } from './arguments.js'
import { runAsync, runSync } from './operation.js'
import type {
  Access,
  ArrayOptions,
  ReadonlyBuffer,
  ReadonlyDataView,
  ReadonlyTypedArray,
  Size,
  TypedArrayConstructor,
} from './types.js'
import type { Views } from './views.js'

const TypedArray = Object.getPrototypeOf(Uint8Array)

/**
 * One process's view of a region's whole window, from {@link Region.attach}.
 *
 * **A peer can take memory away**, by `unmap`, `protect` or by cutting the file short, and a touch
 * of it then **kills this process** (SIGSEGV or SIGBUS), as among threads: JavaScript cannot catch
 * it. Share a region with those you trust. What this thread does itself to memory that it has views
 * of is checked (`ERR_VIEW_LIVE`); what other `worker_threads` of the process do is not: they have
 * views and handles of their own.
 *
 * Views are over what is mapped and readable when they are made, a `RangeError` (`ERR_NOT_MAPPED`)
 * otherwise; a write to what is mapped read-only is SIGSEGV. Views share ArrayBuffers: one is made
 * over a whole stretch of readable memory, whatever part of it was asked for. When the attachment is detached its
 * ArrayBuffers are detached first: views are empty from then on, and never crash.
 *
 * `Atomics` work between processes as between threads, with these ArrayBuffers as with
 * SharedArrayBuffers, except for `Atomics.wait` and `Atomics.notify`: V8 keeps its lists of waiters
 * in the process, so they never reach another one, and there is nothing here to replace them.
 *
 * Attachments of one region with one `prot` share the process's window, in all `worker_threads`:
 * the window goes with the last. An attachment that nobody can reach any more, nor any view of it,
 * is detached some time later; a worker thread that exits detaches its own (one that is terminated
 * does not). Children have no attachment: the addresses are not mapped in what `fork(2)` makes.
 */
export class Attachment {
  readonly #views: Views

  /** @internal Made by {@link Region.attach}. */
  constructor(views: Views) {
    this.#views = views
  }

  /** Where the window begins, the same in every process unless `anywhere` was asked for. */
  get address(): bigint {
    return this.#views.address
  }

  /** Size of the window, bytes. */
  get size(): number {
    return this.#views.size
  }

  /** What may be done through it. */
  get prot(): Access {
    return this.#views.access
  }

  /** Whether this attachment has ended. */
  get detached(): boolean {
    return !this.#views.attached
  }

  /**
   * A Buffer over a part of the region: shared memory, no copy.
   * @param offset where in the region, bytes; default 0
   * @param length bytes; default: to the end of what is mapped and readable there
   * @throws RangeError `ERR_NOT_MAPPED`, `ERR_OUT_OF_RANGE`; MshareError `ERR_DETACHED`
   */
  buffer(offset: Size = 0, length?: Size): Buffer {
    const { buffer, byteOffset, byteLength } = this.#find(offset, length)
    return Buffer.from(buffer, byteOffset, byteLength)
  }

  /**
   * A DataView over a part of the region.
   * @param offset where in the region, bytes; default 0
   * @param length bytes; default: to the end of what is mapped and readable there
   * @throws RangeError `ERR_NOT_MAPPED`, `ERR_OUT_OF_RANGE`; MshareError `ERR_DETACHED`
   */
  dataView(offset: Size = 0, length?: Size): DataView<ArrayBuffer> {
    const { buffer, byteOffset, byteLength } = this.#find(offset, length)
    return new DataView(buffer, byteOffset, byteLength)
  }

  /**
   * A typed array over a part of the region: `view.array(Float64Array, { offset: 64, length: 8 })`.
   * `offset` is in bytes and a multiple of the element's size, `length` in elements.
   * @throws RangeError `ERR_NOT_MAPPED`, `ERR_OUT_OF_RANGE`; MshareError `ERR_DETACHED`
   */
  array<T extends TypedArrayConstructor>(Type: T, options: ArrayOptions = {}): InstanceType<T> {
    if (typeof Type !== 'function' || Object.getPrototypeOf(Type) !== TypedArray) {
      throw typeError('Type', 'a typed array, such as Int32Array', Type)
    }
    const { offset = 0, length } = toOptions(options)
    const unit = Type.BYTES_PER_ELEMENT
    const start = toBytes(offset, 'offset')
    if (start % unit) {
      throw rangeError(`offset has to be a multiple of ${unit} for ${Type.name}, and is ${start}`)
    }
    const bytes =
      length === undefined
        ? undefined
        : toInteger(length, 'length', Math.floor(Number.MAX_SAFE_INTEGER / unit)) * unit
    const { buffer, byteOffset, byteLength } = this.#find(start, bytes)
    return new Type(buffer, byteOffset, Math.floor(byteLength / unit)) as InstanceType<T>
  }

  /**
   * End this attachment: its ArrayBuffers become empty, then the window goes from the process if
   * this was its last user. Nothing happens the second time. The region and its contents stay.
   * @throws MshareError
   */
  detach(): void {
    runSync(this.#views.detach())
  }

  /** {@link detach} on the worker thread; the ArrayBuffers are empty when this returns. */
  detachAsync(): Promise<void> {
    return runAsync(this.#views.detach())
  }

  /** {@link detach}: `using view = region.attach()`. */
  [Symbol.dispose](): void {
    this.detach()
  }

  /** {@link detachAsync}: `await using view = await region.attachAsync()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.detachAsync()
  }

  #find(offset: Size, length: Size | undefined) {
    return this.#views.find(
      toBytes(offset, 'offset'),
      length === undefined ? undefined : toBytes(length, 'length'),
    )
  }
}

/**
 * An {@link Attachment} that was made with `prot: 'r'`: its views are read-only in their types. What
 * gets round the types and writes is killed by SIGSEGV: that is the memory's protection, and
 * JavaScript has no read-only ArrayBuffer that could throw instead.
 */
export interface ReadonlyAttachment
  extends Pick<Attachment, 'detach' | 'detachAsync'>,
    Disposable,
    AsyncDisposable {
  /** {@link Attachment.address} */
  readonly address: bigint
  /** {@link Attachment.size} */
  readonly size: number
  /** {@link Attachment.detached} */
  readonly detached: boolean
  /** `'r'`. */
  readonly prot: Access
  /** {@link Attachment.buffer}, without what writes. */
  buffer(offset?: Size, length?: Size): ReadonlyBuffer
  /** {@link Attachment.dataView}, without what writes. */
  dataView(offset?: Size, length?: Size): ReadonlyDataView
  /** {@link Attachment.array}, without what writes. */
  array<T extends TypedArrayConstructor>(
    Type: T,
    options?: ArrayOptions,
  ): ReadonlyTypedArray<InstanceType<T>>
}
