/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * msharefs: files that are shareable portions of address space.
 *
 * A region is a file on msharefs. Its size is its window, a reservation of
 * addresses, and is given once. Memory and files are mapped into the window by
 * the ioctls below, by offset into the region; mmap(MAP_SHARED) of the whole
 * file attaches the window to the caller's address space, and all attachers
 * share one set of page tables. Documentation/filesystems/msharefs.rst has the
 * whole story.
 *
 * Offsets and sizes are bytes, and multiples of the page size unless it says
 * otherwise. Words called flags and reserved must be zero where no value is
 * named (EINVAL). Calls that change a region want a descriptor that is open for
 * reading and writing (EACCES otherwise).
 */
#ifndef _UAPI_LINUX_MSHAREFS_H
#define _UAPI_LINUX_MSHAREFS_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* f_type of statfs(2): "mshr" */
#define MSHAREFS_SUPER_MAGIC	0x6d736872

/*
 * What windows, bases and the addresses of attachments are multiples of; also
 * readable as decimal text from the file mshare_info in the root of a mount.
 */
#define MSHAREFS_INFO_NAME	"mshare_info"

/*
 * Map size bytes at region_offset: anonymous shared memory, or the file fd from
 * offset on.
 * @prot:  PROT_*, what attachers may do there at most
 * @flags: MAP_SHARED | MAP_FIXED, both, and any of MAP_ANONYMOUS (fd is -1 then,
 *         and offset is ignored), MAP_NORESERVE, MAP_POPULATE
 * EEXIST: something is mapped in the range. ENOSPC: the mount's size= is used
 * up. EOPNOTSUPP: files of that kind cannot be mapped, nor can MAP_HUGETLB.
 *
 * 40 bytes where u64 is aligned to 8, the last 4 of which are not looked at; 36
 * elsewhere (i386), hence another number there. Both are accepted.
 */
struct mshare_create {
	__u64 region_offset;
	__u64 size;
	__u64 offset;
	__u32 prot;
	__u32 flags;
	__u32 fd;
};
#define MSHAREFS_CREATE_MAPPING	_IOW('x', 0, struct mshare_create)

/* Unmap a range and free its memory. Holes in the range are fine. */
struct mshare_unmap {
	__u64 region_offset;
	__u64 size;
};
#define MSHAREFS_UNMAP		_IOW('x', 1, struct mshare_unmap)

/* Change the protection of a range; ENOMEM if it has holes. */
struct mshare_protect {
	__u64 region_offset;
	__u64 size;
	__u32 prot;
	__u32 flags;
};
#define MSHAREFS_PROTECT	_IOW('x', 2, struct mshare_protect)

/*
 * madvise(2) for a range; ENOMEM if it has holes. @advice: MADV_NORMAL,
 * _RANDOM, _SEQUENTIAL, _WILLNEED, _DONTNEED (unmaps pages, which keep what is
 * in them), _REMOVE (frees them: zeroes from then on; memory only), _COLD,
 * _PAGEOUT, _HUGEPAGE, _NOHUGEPAGE, _POPULATE_READ, _POPULATE_WRITE.
 */
struct mshare_advise {
	__u64 region_offset;
	__u64 size;
	__u32 advice;
	__u32 flags;
};
#define MSHAREFS_ADVISE		_IOW('x', 3, struct mshare_advise)

/*
 * Give the region its window and its base at once; EEXIST if it has a window.
 * ftruncate(2) and fallocate(2) give it a window without a base.
 * @size, @base: multiples of the alignment; base 0: none
 */
struct mshare_reserve {
	__u64 size;
	__u64 base;
	__u32 flags;
	__u32 reserved;
};
#define MSHAREFS_RESERVE	_IOW('x', 4, struct mshare_reserve)

/*
 * Record the address at which attachments are meant to be, in a region that has
 * a window and no base (ENODATA without a window, EEXIST with a base). The
 * kernel gives it to those who attach with mmap(NULL), if it is free.
 */
struct mshare_base {
	__u64 base;
	__u32 flags;
	__u32 reserved;
};
#define MSHAREFS_SET_BASE	_IOW('x', 5, struct mshare_base)
#define MSHAREFS_GET_BASE	_IOR('x', 6, struct mshare_base)

/* What the region is made of, at this moment. */
struct mshare_region_info {
	__u64 window;		/* bytes; 0: none yet */
	__u64 base;		/* address; 0: none recorded */
	__u64 mapped;		/* bytes of the window that have a mapping */
	__u64 resident;		/* bytes of memory the contents take, without swap */
	__u64 page_table_bytes;	/* the shared tables, all levels */
	__u64 generation;	/* successful map, unmap, protect so far */
	__u64 links;		/* slots of attachers that point to shared tables */
	__u64 flushes;		/* TLB flushes of one attacher each, so far */
	__u64 batched;		/* reclaimed pages whose flush was put off and shared */
	__u32 mappings;		/* entries MSHAREFS_LIST_MAPPINGS would give */
	__u32 attachments;	/* in all processes */
	__u64 reserved[6];	/* 0 */
};
#define MSHAREFS_GET_INFO	_IOR('x', 7, struct mshare_region_info)

/* A run of the window with one protection and one set of flags. */
struct mshare_mapping_entry {
	__u64 region_offset;
	__u64 size;
	__u32 prot;		/* PROT_* */
	__u32 flags;		/* MAP_NORESERVE; MAP_ANONYMOUS if it is memory */
};

/*
 * List mappings by rising offset.
 * @start: only what ends above this offset (to go on where one call left off)
 * @entries: address of an array of struct mshare_mapping_entry
 * @count: room in the array; on return how many were written
 * @generation: on return, the generation that they are of
 */
struct mshare_list_mappings {
	__u64 start;
	__u64 entries;
	__u64 generation;
	__u32 count;
	__u32 flags;
};
#define MSHAREFS_LIST_MAPPINGS	_IOWR('x', 8, struct mshare_list_mappings)

/*
 * As MSHAREFS_CREATE_MAPPING, of what the caller has mapped MAP_SHARED at addr:
 * the file, or the shared memory that no descriptor leads to any more (of
 * MAP_ANONYMOUS, or a System V segment). It stays mapped there, too.
 * @addr:  a multiple of the page size; one mapping has all of the range (ENOMEM)
 * @flags: MAP_SHARED | MAP_FIXED, both, and MAP_POPULATE
 * EOPNOTSUPP: private memory, or what cannot be mapped from a file either.
 * EACCES: prot is more than mprotect(2) would allow the caller there.
 */
struct mshare_map_mapped {
	__u64 region_offset;
	__u64 size;
	__u64 addr;
	__u32 prot;
	__u32 flags;
};
#define MSHAREFS_MAP_MAPPED	_IOW('x', 9, struct mshare_map_mapped)

#endif /* _UAPI_LINUX_MSHAREFS_H */
