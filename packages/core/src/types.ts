// SPDX-License-Identifier: MIT

/** Bytes: a number or bigint below 2^53, or a string such as `'4096'`, `'64MiB'` or `'1.5GiB'`. */
export type Size = number | bigint | `${number}` | `${number}${'B' | 'KiB' | 'MiB' | 'GiB' | 'TiB'}`

/** Protection of a mapping. `'none'`: mapped, and every access is SIGSEGV. */
export type Prot = 'none' | 'r' | 'rw' | 'rx' | 'rwx'

/** How a region is open, or attached: read-only, or for reading and writing. */
export type Access = 'r' | 'rw'

/** What the region's back end must be able to do; `EOPNOTSUPP`, with the reason, if it is not. */
export type Requirement = 'shared-page-tables'

/**
 * `'dontneed'`: the contents stay. `'remove'`: the memory is freed and reads as zero, everywhere,
 * when the call returns. `'populate-read'`, `'populate-write'`: memory is allocated where there is
 * none (`ENOSPC` if it cannot be). mshare_advise(3) has the details.
 */
export type Advice =
  | 'normal'
  | 'willneed'
  | 'dontneed'
  | 'remove'
  | 'populate-read'
  | 'populate-write'

/** For {@link Region.reserve}. */
export interface ReserveOptions {
  /** The window's size, a multiple of the alignment that {@link Region.probe} tells (1 GiB). It costs no memory. */
  size: Size
  /** The address, a multiple of the alignment too; by default one that is free in most processes. */
  base?: Size
}

/** For {@link Region.create}, {@link Region.openOrCreate} and {@link Region.unnamed}. */
export interface CreateOptions {
  /** As in {@link ReserveOptions}. Without it the region is born without a window: `reserve()`. */
  size?: Size
  /** As in {@link ReserveOptions}; only with `size`. */
  base?: Size
  /** Rights, 0 to 0o777; default 0o600. The umask takes from it if the region has a name. */
  mode?: number
  /** What the back end must be able to do. */
  require?: Requirement
}

/** For {@link Region.open} and {@link Region.fromFd}. */
export interface OpenOptions<A extends Access = Access> {
  /** Default `'rw'`. */
  access?: A
  /** What the back end must be able to do. */
  require?: Requirement
}

/** For {@link Region.map}. */
export interface MapOptions {
  /** Bytes, whole pages. */
  length: Size
  /** Where in the region, bytes, whole pages. By default the lowest gap that fits. */
  offset?: Size
  /** Default `'rw'`. */
  prot?: Prot
  /** Default true: the memory is allocated now, or `ENOSPC`. False: on first touch, or SIGBUS. */
  reserve?: boolean
  /** Fill the page tables of those attached, too. Default false. */
  populate?: boolean
  /** Huge pages, where {@link Capabilities.hugetlb}. Default false. */
  hugetlb?: boolean
  /** The file whose contents are mapped, where {@link Capabilities.fileBacking}. */
  backing?: {
    /** An open descriptor of it. */
    fd: number
    /** Where in the file, bytes, whole pages. Default 0. */
    offset?: Size
  }
}

/** A part of a region. */
export interface RangeOptions {
  /** Bytes, whole pages. */
  length: Size
  /** Where in the region, bytes, whole pages. Default 0. */
  offset?: Size
}

/** For {@link Region.unmap} and {@link Region.protect}. */
export interface ChangeOptions extends RangeOptions {
  /**
   * Detach the ArrayBuffers that this thread has over the range first, instead of failing with
   * `ERR_VIEW_LIVE`. They stay detached if the call then fails.
   */
  force?: boolean
}

/** For {@link Region.attach}. */
export interface AttachOptions {
  /** Default: the access that the region was opened with. */
  prot?: Access
  /** Attach exactly there (`EADDRINUSE` if it is taken) rather than at the region's base. */
  address?: bigint
  /** If the base is taken, take any other address. */
  anywhere?: boolean
  /** What the back end must be able to do. */
  require?: Requirement
}

/** A range of the region, in bytes. */
export interface Range {
  /** Where in the region it begins. */
  readonly offset: number
  /** How long it is. */
  readonly length: number
}

/** A maximal run of the window with one protection and one set of flags. */
export interface Mapping extends Range {
  /** A {@link Prot}, or another combination of `r`, `w` and `x` that a C program chose. */
  readonly prot: string
  /** Whether memory was allocated when it was mapped. */
  readonly reserve: boolean
  /** Whether it is of huge pages. */
  readonly hugetlb: boolean
}

/** What a back end can do. */
export interface Capabilities {
  /** All attachers share one set of page tables. */
  readonly sharedPageTables: boolean
  /** `map` takes `backing`. */
  readonly fileBacking: boolean
  /** `map` takes `hugetlb`. */
  readonly hugetlb: boolean
  /** munmap(), mprotect() … of a part of a window fail; otherwise they are undefined. */
  readonly refusesRawCalls: boolean
}

/** msharefs shares page tables and takes our kernel; shm is for any Linux. */
export type Backend = 'msharefs' | 'shm'

/** What {@link Region.info} tells. */
export interface RegionInfo extends Capabilities {
  /** What the region is on. */
  readonly backend: Backend
  /** Size of the window, bytes; 0 until `reserve`. */
  readonly window: number
  /** Address at which attachments are placed; 0n until `reserve`. */
  readonly base: bigint
  /** Bytes of the window that have a mapping. */
  readonly mapped: number
  /** Bytes of memory that the contents take. */
  readonly resident: number
  /** Bytes of the region's shared page tables; undefined if there are none. */
  readonly pageTableBytes: number | undefined
  /** How many times the contents were changed. */
  readonly generation: number
  /** How many {@link Mapping}s there are. */
  readonly mappings: number
  /** In all processes; those of one process by {@link Region.attach} count as one. */
  readonly attachments: number
  /** Attachments that the latest change has not reached. */
  readonly stragglers: number
  /** Why an attachment of this process was given up (`'ENOMEM'` …): its window is inaccessible. */
  readonly attachmentError: string | undefined
}

/** What {@link Region.probe} found. */
export type Probe =
  | ({
      /** Regions can be had. */
      readonly available: true
      /** Of the root: where new regions come to be. */
      readonly backend: Backend
      /** The directory that holds the names. */
      readonly root: string
      /** What windows and bases are multiples of, bytes. */
      readonly alignment: number
      /** The file of libmshare in use. */
      readonly library: string
      /** How it is called. */
      readonly driver: 'koffi' | 'ffi-napi'
    } & Capabilities)
  | {
      /** Regions cannot be had. */
      readonly available: false
      /** Why. */
      readonly error: Error
    }

/** Any of the typed arrays. */
export type TypedArrayConstructor =
  | Int8ArrayConstructor
  | Uint8ArrayConstructor
  | Uint8ClampedArrayConstructor
  | Int16ArrayConstructor
  | Uint16ArrayConstructor
  | Int32ArrayConstructor
  | Uint32ArrayConstructor
  | Float32ArrayConstructor
  | Float64ArrayConstructor
  | BigInt64ArrayConstructor
  | BigUint64ArrayConstructor

/** For {@link Attachment.array}. */
export interface ArrayOptions {
  /** Where in the region, bytes, a multiple of the element's size. Default 0. */
  offset?: Size
  /** Elements. Default: to the end of what is mapped there. */
  length?: number
}

type Writing = 'copyWithin' | 'fill' | 'reverse' | 'set' | 'sort' | 'subarray' | 'buffer'

/** A typed array without what writes. A write by other means is SIGSEGV. */
export type ReadonlyTypedArray<T extends { readonly [index: number]: number | bigint }> = Omit<
  T,
  Writing | number
> & {
  readonly [index: number]: T[number]
  /** A part of it, as read-only. */
  subarray(begin?: number, end?: number): ReadonlyTypedArray<T>
}

/** A DataView without what writes. A write by other means is SIGSEGV. */
export type ReadonlyDataView = Omit<DataView, `set${string}` | 'buffer'>

/** A Buffer without what writes. A write by other means is SIGSEGV. */
export type ReadonlyBuffer = {
  readonly [K in keyof Buffer as K extends
    | Writing
    | 'slice'
    | 'parent'
    | `write${string}`
    | `swap${string}`
    ? never
    : K]: Buffer[K]
} & {
  /** A part of it, as read-only. */
  subarray(begin?: number, end?: number): ReadonlyBuffer
}
