// SPDX-License-Identifier: MIT
import { constants as fs, readlinkSync } from 'node:fs'
import { constants as os } from 'node:os'
import {
  maxInt,
  PROT_READ,
  PROT_WRITE,
  toAccess,
  toAdvice,
  toBoolean,
  toBytes,
  toFd,
  toInteger,
  toMode,
  toName,
  toOptions,
  toProt,
  toRequirement,
  typeError,
} from './arguments.js'
import { askInfo, askMappings } from './asking.js'
import { Attachment, type ReadonlyAttachment } from './attachment.js'
import { MshareError } from './error.js'
import { Handle } from './handle.js'
import { getLibrary } from './library.js'
import { list, makeDirectory, removeDirectory, unlink } from './names.js'
import { call, type Operation, runAsync, runSync } from './operation.js'
import type {
  Access,
  Advice,
  AttachOptions,
  ChangeOptions,
  CreateOptions,
  MapOptions,
  Mapping,
  OpenOptions,
  Probe,
  Prot,
  Range,
  RangeOptions,
  RegionInfo,
  ReserveOptions,
  Size,
} from './types.js'
import { beforeChange, Views, viewsThrough } from './views.js'

// mshare.h
const REQUIRE_SHARED_PAGE_TABLES = 0x4
const MAP_NORESERVE = 0x1
const MAP_POPULATE = 0x2
const MAP_HUGETLB = 0x4
const ATTACH_ANYWHERE = 0x1
const ATTACH_NOFORK = 0x2
const ATTACH_REQUIRE_SHARED_TABLES = 0x4
const ATTACH_REUSE = 0x8

/** A handle for a descriptor that is known to be a region's. */
let wrap: <A extends Access>(fd: number, access: A, path?: string) => Region<A>

/**
 * A shareable portion of address space: a window of reserved addresses, into which memory is mapped
 * by region offset, and which any number of processes attach.
 *
 * A Region is a handle: one open descriptor of the region, which {@link close} (or `using`) closes;
 * until then it stays open, also if the handle is dropped. The region itself lives while it has a
 * name, an open descriptor or an attachment anywhere.
 *
 * **Units**: sizes, offsets and lengths are bytes, given as a {@link Size}; offsets count from the
 * beginning of the window; those of mappings are whole pages.
 *
 * **Errors**: {@link MshareError} for what is refused, with `code` an errno; `TypeError` and
 * `RangeError` for arguments that cannot be right.
 *
 * **Async**: each method that may block has a twin whose name ends so. It makes the same call on one
 * worker thread that this package owns (one for each thread that uses it), one after the other: the
 * event loop goes on and libuv's pool is not used. A pending call keeps the process alive, and its
 * end waits for the call to return; an idle worker does not.
 *
 * There is nothing here to wait on memory: `Atomics.wait` and `notify` do not cross processes.
 */
export class Region<A extends Access = 'rw'> {
  readonly #handle: Handle

  private constructor(handle: Handle) {
    this.#handle = handle
  }

  static {
    wrap = (fd, access, path) => new Region(new Handle(fd, access, path))
  }

  // --- regions come and go ---

  /**
   * Make a region of this name and open it. The name is relative to the root, `/` separates
   * directories ({@link mkdir}), and there is no `.`, `..` or empty component.
   * @throws MshareError `EEXIST` if there is one; `EINVAL` for a bad name or size
   */
  static create(name: string, options: CreateOptions): Region {
    return runSync(create(name, options))
  }

  /** {@link create}, on the worker thread. */
  static createAsync(name: string, options: CreateOptions): Promise<Region> {
    return runAsync(create(name, options))
  }

  /**
   * Open the region of this name.
   * @throws MshareError `ENOENT`, `EACCES`; `EINVAL` if it is no region
   */
  static open<A extends Access = 'rw'>(name: string, options: OpenOptions<A> = {}): Region<A> {
    return runSync(open(name, options))
  }

  /** {@link open}, on the worker thread. */
  static openAsync<A extends Access = 'rw'>(
    name: string,
    options: OpenOptions<A> = {},
  ): Promise<Region<A>> {
    return runAsync(open(name, options))
  }

  /**
   * Open the region of this name, and make it if there is none. Whoever is first gives it its
   * window; the size, base and mode of the others do not count: see {@link info}.
   */
  static openOrCreate(name: string, options: CreateOptions): Region {
    return runSync(openOrCreate(name, options))
  }

  /** {@link openOrCreate}, on the worker thread. */
  static openOrCreateAsync(name: string, options: CreateOptions): Promise<Region> {
    return runAsync(openOrCreate(name, options))
  }

  /**
   * Make a region without a name. Hand its {@link fd} on to have others attach it. `mode` is what
   * those may {@link reopen} it for, who were handed a weaker descriptor.
   */
  static unnamed(options: CreateOptions): Region {
    return runSync(unnamed(options))
  }

  /** {@link unnamed}, on the worker thread. */
  static unnamedAsync(options: CreateOptions): Promise<Region> {
    return runAsync(unnamed(options))
  }

  /**
   * Take up a descriptor that this process was handed; {@link close} will close it.
   * @param fd for example 3, where the parent spawned with `stdio: ['inherit', 'inherit', 'inherit', region.fd]`
   * @throws MshareError `EBADF`, `EINVAL` if it is no region; the descriptor is left alone
   */
  static fromFd<A extends Access = 'rw'>(fd: number, options: OpenOptions<A> = {}): Region<A> {
    return runSync(fromFd(fd, options))
  }

  /** Remove a region's name. The region lives on while it is open or attached anywhere. */
  static unlink(name: string): void {
    runSync(unlink(name))
  }

  /** {@link unlink}, on the worker thread. */
  static unlinkAsync(name: string): Promise<void> {
    return runAsync(unlink(name))
  }

  /** Make a directory for names. `mode`: 0 to 0o777, less the umask; default 0o700. */
  static mkdir(name: string, mode = 0o700): void {
    runSync(makeDirectory(name, mode))
  }

  /** Remove a directory. @throws MshareError `ENOTEMPTY` */
  static rmdir(name: string): void {
    runSync(removeDirectory(name))
  }

  /**
   * The names of the regions there are in the root, or in a directory, and in directories below
   * that this user may look into; sorted.
   */
  static list(directory = ''): string[] {
    if (typeof directory !== 'string') throw typeError('directory', 'a string', directory)
    return runSync(list(directory))
  }

  /** Whether regions can be had here, on which back end, and what it can do. Does not throw. */
  static probe(): Probe {
    try {
      return runSync(probe())
    } catch (error) {
      return { available: false, error: error as Error }
    }
  }

  /**
   * How long a change waits for attachers to follow, in this process: milliseconds, 0 for ever. It
   * is 10,000 until set.
   */
  static setTimeout(milliseconds: number): void {
    runSync(call('mshare_set_timeout', [toInteger(milliseconds, 'milliseconds', maxInt)]))
  }

  // --- the handle ---

  /** The name it was opened by, if any. */
  get name(): string | undefined {
    return this.#handle.path
  }

  /** How it is open. */
  get access(): A {
    return this.#handle.access as A
  }

  /**
   * The descriptor, to hand on: by `stdio` of a child, or by SCM_RIGHTS. It is close-on-exec, and
   * stays this handle's: do not close it.
   * @throws MshareError `ERR_CLOSED`
   */
  get fd(): number {
    return this.#handle.fd
  }

  /** Whether it was closed. */
  get closed(): boolean {
    return this.#handle.closed
  }

  /**
   * Another handle of the region with a description of its own, possibly read-only: what to hand to
   * those who are not to write.
   * @throws MshareError `EACCES` as the region's mode says
   */
  reopen<B extends Access>(access: B): Region<B> {
    return runSync(this.#reopen(access))
  }

  /**
   * Close the handle. The attachments that were made through it are detached first, as by
   * {@link Attachment.detach}. Nothing happens the second time.
   */
  close(): void {
    for (const views of this.#beginClose()) runSync(views.detach())
  }

  /** {@link close}, on the worker thread; the ArrayBuffers are empty when this returns. */
  async closeAsync(): Promise<void> {
    await Promise.all(this.#beginClose().map((views) => runAsync(views.detach())))
  }

  /** {@link close}: `using region = Region.open('name')`. */
  [Symbol.dispose](): void {
    this.close()
  }

  /** {@link closeAsync}: `await using region = await Region.openAsync('name')`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.closeAsync()
  }

  // --- the window and its contents ---

  /**
   * Give a region that was made without one its window.
   * @throws MshareError `EEXIST` if it has one
   */
  reserve(options: ReserveOptions): void {
    runSync(reserve(this.#handle.fd, options, this.name))
  }

  /** {@link reserve}, on the worker thread. */
  reserveAsync(options: ReserveOptions): Promise<void> {
    return this.#async(() => reserve(this.#handle.fd, options, this.name))
  }

  /**
   * Map zeroed memory. In force in every attached process when this returns. Without `offset`: in
   * the lowest gap that is long enough.
   * @returns where it is
   * @throws MshareError `EEXIST` if something is mapped in the range; `ENOMEM` if no gap fits;
   * `ENOSPC` if there is not enough memory; `ETIMEDOUT`, `EBUSY`: {@link setTimeout}
   */
  map(options: MapOptions): Range {
    return runSync(this.#map(options))
  }

  /** {@link map}, on the worker thread. */
  mapAsync(options: MapOptions): Promise<Range> {
    return this.#async(() => this.#map(options))
  }

  /**
   * Unmap a range; holes in it are fine. The memory is free when this returns. Whoever touches it
   * afterwards, in whatever process, is killed.
   * @throws MshareError `ERR_VIEW_LIVE` if this thread has an ArrayBuffer over a part of it, unless
   * `force`; `ETIMEDOUT`, `EBUSY`
   */
  unmap(options: ChangeOptions): void {
    runSync(this.#unmap(options))
  }

  /** {@link unmap}, on the worker thread; views are looked at when this is called. */
  unmapAsync(options: ChangeOptions): Promise<void> {
    return this.#async(() => this.#unmap(options))
  }

  /**
   * Change the protection of a range without holes.
   * @throws MshareError `ENOMEM` if there is a hole; `ERR_VIEW_LIVE` if this thread has an ArrayBuffer
   * over a part of it that allows what the new protection does not, unless `force`; `ETIMEDOUT`, `EBUSY`
   */
  protect(options: ChangeOptions & { prot: Prot }): void {
    runSync(this.#protect(options))
  }

  /** {@link protect}, on the worker thread; views are looked at when this is called. */
  protectAsync(options: ChangeOptions & { prot: Prot }): Promise<void> {
    return this.#async(() => this.#protect(options))
  }

  /** Say how a range without holes will be used, or have its memory freed or allocated. */
  advise(options: RangeOptions & { advice: Advice }): void {
    runSync(this.#advise(options))
  }

  /** {@link advise}, on the worker thread. */
  adviseAsync(options: RangeOptions & { advice: Advice }): Promise<void> {
    return this.#async(() => this.#advise(options))
  }

  /**
   * Attach the window to this process, at the region's base unless the options say otherwise.
   * **First read what {@link Attachment} says first.**
   * @throws MshareError `EADDRINUSE` if the process uses the addresses, as it does for an attachment
   * with another `prot`; `EACCES`; `ENODATA` before {@link reserve}
   */
  attach(options: AttachOptions & { prot: 'r' }): ReadonlyAttachment
  attach(options?: AttachOptions): A extends 'r' ? ReadonlyAttachment : Attachment
  attach(options: AttachOptions = {}): unknown {
    return runSync(this.#attach(options))
  }

  /** {@link attach}, on the worker thread. */
  attachAsync(options: AttachOptions & { prot: 'r' }): Promise<ReadonlyAttachment>
  attachAsync(options?: AttachOptions): Promise<A extends 'r' ? ReadonlyAttachment : Attachment>
  attachAsync(options: AttachOptions = {}): Promise<unknown> {
    return this.#async(() => this.#attach(options))
  }

  /** The region as it is now. */
  info(): RegionInfo {
    return runSync(askInfo(this.#handle.fd, this.name))
  }

  /** {@link info}, on the worker thread. */
  infoAsync(): Promise<RegionInfo> {
    return this.#async(() => askInfo(this.#handle.fd, this.name))
  }

  /** What is mapped now, by rising offset. */
  mappings(): Mapping[] {
    return runSync(askMappings(this.#handle.fd, this.name))
  }

  /** {@link mappings}, on the worker thread. */
  mappingsAsync(): Promise<Mapping[]> {
    return this.#async(() => askMappings(this.#handle.fd, this.name))
  }

  #async<T>(operation: () => Operation<T>): Promise<T> {
    return this.#handle.use(() => runAsync(operation()))
  }

  /** Close the descriptor; what is left to detach, with its views empty already. */
  #beginClose(): Views[] {
    const all = viewsThrough(this.#handle)
    for (const views of all) views.detachBuffers()
    this.#handle.close()
    return all
  }

  *#reopen<B extends Access>(access: B): Operation<Region<B>> {
    const flags = openFlags(access)
    const fd = (yield* call('mshare_reopen', [this.#handle.fd, flags], this.name)) as number
    return wrap(fd, access, this.name)
  }

  *#map(options: MapOptions): Operation<Range> {
    const {
      offset,
      length,
      prot = 'rw',
      reserve = true,
      populate = false,
      hugetlb = false,
      backing,
    } = toOptions(options)
    const bytes = toBytes(length, 'length')
    const flags =
      (toBoolean(reserve, 'reserve') ? 0 : MAP_NORESERVE) |
      (toBoolean(populate, 'populate') ? MAP_POPULATE : 0) |
      (toBoolean(hugetlb, 'hugetlb') ? MAP_HUGETLB : 0)
    const { fd, path } = this.#handle
    const rest = [bytes, toProt(prot), flags, ...toBacking(backing)]
    if (offset !== undefined) {
      const at = toBytes(offset, 'offset')
      yield* call('mshare_map', [fd, at, ...rest], path)
      return { offset: at, length: bytes }
    }
    for (;;) {
      const at = yield* findGap(this.#handle, bytes)
      try {
        yield* call('mshare_map', [fd, at, ...rest], path)
        return { offset: at, length: bytes }
      } catch (error) {
        // A peer was quicker: look again. It has got on, so this ends.
        if ((error as MshareError).code !== 'EEXIST') throw error
      }
    }
  }

  *#unmap(options: ChangeOptions): Operation<void> {
    const { fd, path } = this.#handle
    const range = toChange(options)
    const done = beforeChange(this.#handle, 'unmap', { ...range, taken: 'rw' })
    try {
      yield* call('mshare_unmap', [fd, range.offset, range.length], path)
    } finally {
      done()
    }
  }

  *#protect(options: ChangeOptions & { prot: Prot }): Operation<void> {
    const { fd, path } = this.#handle
    const range = toChange(options)
    const prot = toProt(options.prot)
    const taken = `${prot & PROT_READ ? '' : 'r'}${prot & PROT_WRITE ? '' : 'w'}`
    const done = beforeChange(this.#handle, 'protect', { ...range, taken })
    try {
      yield* call('mshare_protect', [fd, range.offset, range.length, prot], path)
    } finally {
      done()
    }
  }

  *#advise(options: RangeOptions & { advice: Advice }): Operation<void> {
    const { offset, length } = toRange(options)
    const advice = toAdvice(options.advice)
    yield* call('mshare_advise', [this.#handle.fd, offset, length, advice], this.name)
  }

  *#attach(options: AttachOptions): Operation<Attachment> {
    const handle = this.#handle
    const { fd, path } = handle
    const { prot = handle.access, address = 0n, anywhere = false, require } = toOptions(options)
    if (typeof address !== 'bigint') throw typeError('address', 'a bigint', address)
    const flags =
      (toBoolean(anywhere, 'anywhere') ? ATTACH_ANYWHERE : 0) |
      (toRequirement(require) ? ATTACH_REQUIRE_SHARED_TABLES : 0) |
      ATTACH_NOFORK |
      ATTACH_REUSE
    const args = [fd, toBytes(address, 'address'), toAccess(prot, 'prot'), flags]
    const { window } = yield* askInfo(fd, path)
    const at = (yield* call('mshare_attach', args, path)) as bigint
    const views = new Views(handle, at, window, prot)
    if (handle.closed) {
      // While it was on its way. (Asking for the descriptor throws what there is to say.)
      yield* views.detach()
      return handle.fd as never
    }
    return new Attachment(views)
  }
}

function openFlags(access: Access): number {
  return toAccess(access, 'access') & PROT_WRITE ? fs.O_RDWR : fs.O_RDONLY
}

function* create(name: string, options: CreateOptions): Operation<Region> {
  return yield* openToCreate(name, options, fs.O_CREAT | fs.O_EXCL)
}

function* openOrCreate(name: string, options: CreateOptions): Operation<Region> {
  return yield* openToCreate(name, options, fs.O_CREAT)
}

function* openToCreate(name: string, options: CreateOptions, flags: number): Operation<Region> {
  const { size, base, mode = 0o600, require } = toOptions(options)
  const window = size === undefined ? undefined : toWindow(size, base)
  const file = toName(name, 'mshare_open')
  if (toRequirement(require)) yield* requireOfRoot(name)
  const fd = (yield* call('mshare_open', [file, fs.O_RDWR | flags, toMode(mode)], name)) as number
  try {
    if (window) yield* call('mshare_reserve', [fd, ...window], name)
  } catch (error) {
    const exclusive = (flags & fs.O_EXCL) !== 0
    if (exclusive || (error as MshareError).code !== 'EEXIST') {
      yield* call('close', [fd])
      // Ours, and of no use. Why that is comes before what becomes of it.
      if (exclusive) yield { name: 'mshare_unlink', args: [file] }
      throw error
    }
  }
  return wrap(fd, 'rw', name)
}

function* open<A extends Access>(name: string, options: OpenOptions<A>): Operation<Region<A>> {
  const { access = 'rw' as A, require } = toOptions(options)
  const flags = openFlags(access)
  const fd = (yield* call('mshare_open', [toName(name, 'mshare_open'), flags, 0], name)) as number
  try {
    yield* checkRegion(fd, toRequirement(require), name)
  } catch (error) {
    yield* call('close', [fd])
    throw error
  }
  return wrap(fd, access, name)
}

function* unnamed(options: CreateOptions): Operation<Region> {
  const { size, base, mode = 0o600, require } = toOptions(options)
  const window = size === undefined ? undefined : toWindow(size, base)
  const flags = toRequirement(require) ? REQUIRE_SHARED_PAGE_TABLES : 0
  const fd = (yield* call('mshare_create', [flags, toMode(mode)])) as number
  try {
    if (window) yield* call('mshare_reserve', [fd, ...window])
  } catch (error) {
    yield* call('close', [fd])
    throw error
  }
  return wrap(fd, 'rw')
}

function* fromFd<A extends Access>(fd: number, options: OpenOptions<A>): Operation<Region<A>> {
  const { access = 'rw' as A, require } = toOptions(options)
  toAccess(access, 'access')
  yield* checkRegion(toFd(fd), toRequirement(require))
  return wrap(fd, access)
}

/** That a descriptor is one of a region, and of one with shared page tables if that is required. */
function* checkRegion(fd: number, sharedPageTables: boolean, name?: string): Operation<void> {
  let shared = false
  try {
    shared = (yield* askInfo(fd, name)).sharedPageTables
  } catch (error) {
    // A region without a window is a region.
    if ((error as MshareError).code !== 'ENODATA') throw error
  }
  if (sharedPageTables && !shared) throw requirementError(name)
}

function* requireOfRoot(name: string): Operation<void> {
  const root = (yield* call('mshare_root', [])) as number
  try {
    if (!(yield* askInfo(root)).sharedPageTables) throw requirementError(name)
  } finally {
    yield* call('close', [root])
  }
}

function requirementError(path: string | undefined): MshareError {
  return new MshareError(
    'Shared page tables are required, and the region would be on the shm back end, ' +
      'which gives every attacher its own',
    {
      code: 'EOPNOTSUPP',
      errno: os.errno.EOPNOTSUPP,
      path,
      hint: 'They need a kernel with msharefs; without `require` the region works all the same',
    },
  )
}

function* reserve(fd: number, options: ReserveOptions, path?: string): Operation<void> {
  const { size, base } = toOptions(options)
  yield* call('mshare_reserve', [fd, ...toWindow(size, base)], path)
}

function* probe(): Operation<Probe> {
  const { path, driver } = getLibrary()
  const alignment = Number(yield* call('mshare_alignment', []))
  const fd = (yield* call('mshare_root', [])) as number
  try {
    const { backend, sharedPageTables, fileBacking, hugetlb, refusesRawCalls } = yield* askInfo(fd)
    const root = readlinkSync(`/proc/self/fd/${fd}`)
    return {
      available: true,
      backend,
      root,
      alignment,
      library: path,
      driver,
      sharedPageTables,
      fileBacking,
      hugetlb,
      refusesRawCalls,
    }
  } finally {
    yield* call('close', [fd])
  }
}

/** The lowest offset at which that many bytes are free. */
function* findGap({ fd, path }: Handle, length: number): Operation<number> {
  const { window } = yield* askInfo(fd, path)
  const mappings = window === 0 ? [] : yield* askMappings(fd, path)
  let end = 0
  let longest = 0
  for (const { offset, length: mapped } of [...mappings, { offset: window, length: 0 }]) {
    // No window at all, or a length of 0: for C to refuse.
    if (offset - end >= length || window === 0) return end
    longest = Math.max(longest, offset - end)
    end = offset + mapped
  }
  throw new MshareError(
    `map: no gap of ${length} bytes in the window of ${window}: the longest has ${longest}`,
    {
      code: 'ENOMEM',
      errno: os.errno.ENOMEM,
      syscall: 'mshare_map',
      path,
      hint: 'Unmap something, or make a region with a larger window: it costs no memory',
    },
  )
}

function toWindow(size: Size, base: Size = 0): [base: number, size: number] {
  return [toBytes(base, 'base'), toBytes(size, 'size')]
}

function toBacking(backing: MapOptions['backing']): [fd: number, offset: number] {
  if (backing === undefined) return [-1, 0]
  const { fd, offset = 0 } = toOptions(backing)
  return [toFd(fd, 'backing.fd'), toBytes(offset, 'backing.offset')]
}

function toRange(options: RangeOptions): Range {
  const { offset = 0, length }: { offset?: Size; length: Size } = toOptions(options)
  return { offset: toBytes(offset, 'offset'), length: toBytes(length, 'length') }
}

function toChange(options: ChangeOptions): Range & { force: boolean } {
  const { force = false } = toOptions(options)
  return { ...toRange(options), force: toBoolean(force, 'force') }
}
