/* SPDX-License-Identifier: MIT */
/*
 * libmshare: processes that share a portion of their address space.
 *
 * A region is a window of reserved addresses, referred to by a file descriptor.
 * Memory is mapped into it, by region offset, through that descriptor; every
 * attached process sees every change. mshare(7) explains the model, and each
 * function has a man page of its own.
 *
 * Conventions, as for shm_open() and mmap():
 *  - Functions that return int give 0 or a descriptor on success and -1 on
 *    error, with errno set; mshare_attach() gives MAP_FAILED.
 *  - A failure also leaves its errno where later calls do not reach it
 *    (mshare_errno) and one sentence about it (mshare_errmsg), per thread.
 *  - Sizes, offsets and lengths are bytes.
 *  - Every function is thread-safe; none is async-signal-safe.
 */
#ifndef MSHARE_H
#define MSHARE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#if !defined(__LP64__)
#error "libmshare is for LP64 targets: a window does not fit a 32-bit address space"
#endif

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MSHARE_API __attribute__((visibility("default")))
#else
#define MSHARE_API
#endif

/* The version of this header. What is linked, or loaded, can be another: mshare_version(). */
#define MSHARE_VERSION "0.1.0"
#define MSHARE_VERSION_MAJOR 0
#define MSHARE_VERSION_MINOR 1
#define MSHARE_VERSION_PATCH 0

/* mshare_create(): fail with EOPNOTSUPP unless attachers will share page tables. */
#define MSHARE_REQUIRE_SHARED_PAGE_TABLES 0x4u

/* mshare_map(): */
#define MSHARE_MAP_NORESERVE 0x1 /* allocate on first touch, which can then be SIGBUS */
#define MSHARE_MAP_POPULATE 0x2  /* fill the page tables of the attachers there are, too */
#define MSHARE_MAP_HUGETLB 0x4   /* huge pages of hugetlb; only where MSHARE_CAP_HUGETLB is */

/* mshare_attach(): */
#define MSHARE_ATTACH_ANYWHERE 0x1 /* if the base is taken, any aligned address */
#define MSHARE_ATTACH_NOFORK 0x2   /* children made by fork() have no attachment */
#define MSHARE_ATTACH_REQUIRE_SHARED_TABLES 0x4
/*
 * If this process already has an attachment of the region with the same prot,
 * and it is where addr asks, count one more user of it and return its address:
 * mshare_detach() then drops one user, and the window goes with the last.
 */
#define MSHARE_ATTACH_REUSE 0x8

/* struct mshare_info.backend */
#define MSHARE_BACKEND_MSHAREFS 1
#define MSHARE_BACKEND_SHM 2

/* struct mshare_info.capabilities */
#define MSHARE_CAP_SHARED_PAGE_TABLES 0x1u /* one set of page tables for all attachers */
#define MSHARE_CAP_FILE_BACKING 0x2u       /* mshare_map() takes a backing_fd */
#define MSHARE_CAP_HUGETLB 0x4u            /* mshare_map() takes MSHARE_MAP_HUGETLB */
#define MSHARE_CAP_REFUSES_RAW_CALLS                                                               \
	0x8u /* munmap(), mprotect() … of a part of a window: EINVAL                             \
	      */

/* What is known of a number that cannot be had. */
#define MSHARE_UNKNOWN UINT64_MAX

struct mshare_info {
	uint32_t backend;          /* MSHARE_BACKEND_* */
	uint32_t capabilities;     /* MSHARE_CAP_*, ORed */
	uint64_t window;           /* bytes; 0 until mshare_reserve() */
	uint64_t base;             /* address; 0 until mshare_reserve() */
	uint64_t mapped;           /* bytes of the window that have a mapping */
	uint64_t resident;         /* bytes of memory the contents take */
	uint64_t page_table_bytes; /* of the region's shared tables, or MSHARE_UNKNOWN */
	uint64_t generation;       /* how many times the contents were changed */
	uint32_t mappings;         /* entries mshare_mappings() would give */
	uint32_t attachments;      /* in all processes */
	uint32_t stragglers;       /* attachments that the latest change has not reached */
	int32_t attachment_errno;  /* 0, or why an attachment of this process was given up */
};

/*
 * A maximal run of the window with one protection and one set of flags, as a
 * line of /proc/PID/maps is.
 */
struct mshare_mapping {
	uint64_t offset; /* into the region, bytes */
	uint64_t length; /* bytes */
	uint32_t prot;   /* PROT_READ | PROT_WRITE | PROT_EXEC, or PROT_NONE */
	uint32_t flags;  /* MSHARE_MAP_NORESERVE and MSHARE_MAP_HUGETLB, as mapped */
};

/*
 * Names: relative to the root, '/'-separated, no ".", ".." or empty component;
 * symbolic links are not followed. The root is $MSHARE_ROOT, or the default of
 * the back end: mshare(7).
 */

/*
 * Open region `name`. oflag: O_RDONLY or O_RDWR, with O_CREAT and O_EXCL; the
 * descriptor is always close-on-exec. mode (0 to 0777, less the umask) is for a
 * region that O_CREAT makes; it is born without a window.
 */
MSHARE_API int mshare_open(const char *name, int oflag, mode_t mode);

/*
 * A region without a name, on the back end that a name would be on. flags: 0 or
 * MSHARE_REQUIRE_SHARED_PAGE_TABLES. mode is applied as it is: what somebody
 * who is handed the descriptor may mshare_reopen() it for.
 */
MSHARE_API int mshare_create(unsigned int flags, mode_t mode);

/* A new open file description of fd's region: O_RDONLY or O_RDWR, as its mode allows. */
MSHARE_API int mshare_reopen(int fd, int oflag);

/* Open the root, unlinkat(), close. The region lives on while open or attached. */
MSHARE_API int mshare_unlink(const char *name);

MSHARE_API int mshare_mkdir(const char *name, mode_t mode);
MSHARE_API int mshare_rmdir(const char *name);

/* A descriptor of the root directory, for openat() and the like. */
MSHARE_API int mshare_root(void);

/*
 * Give fd's region its window, once (EEXIST after that): size bytes, a multiple
 * of mshare_alignment(). base: a multiple of it too, or NULL to have one chosen
 * that is free in most processes.
 */
MSHARE_API int mshare_reserve(int fd, void *base, size_t size);

/* What windows and bases are multiples of, bytes: 1 GiB on x86-64. */
MSHARE_API size_t mshare_alignment(void);

/*
 * Contents. fd open read-write, offsets and lengths in whole pages inside the
 * window, each call all or nothing, and in force in every attached process when
 * it has returned 0. If attachers do not follow within the time limit:
 * ETIMEDOUT, the change is published and will arrive; EBUSY, an earlier one is
 * still on its way (or the region's modifier lock is held) and nothing changed.
 */

/*
 * Map `length` bytes of zeroed memory, or of the file backing_fd from
 * backing_offset on, at `offset`. backing_fd -1 and backing_offset 0: memory.
 * flags: MSHARE_MAP_*. EEXIST where something is mapped already.
 */
MSHARE_API int mshare_map(int fd, size_t offset, size_t length, int prot, int flags, int backing_fd,
			  off_t backing_offset);

/* Unmap; holes in the range are fine. The memory is free on return. */
MSHARE_API int mshare_unmap(int fd, size_t offset, size_t length);

/* Change protection; ENOMEM if the range has holes. */
MSHARE_API int mshare_protect(int fd, size_t offset, size_t length, int prot);

/* MADV_* advice about a range that has no holes: mshare_advise(3) has the list. */
MSHARE_API int mshare_advise(int fd, size_t offset, size_t length, int advice);

/*
 * Attach the whole window to this process and return its address. addr NULL:
 * at the region's base. addr not NULL: exactly there. prot: PROT_READ, or
 * PROT_READ | PROT_WRITE, which needs fd open for writing. flags:
 * MSHARE_ATTACH_*. EADDRINUSE if anything is mapped there already.
 */
MSHARE_API void *mshare_attach(int fd, void *addr, int prot, int flags);

/* Detach the attachment that mshare_attach() returned addr for. */
MSHARE_API int mshare_detach(void *addr);

/* How long a change waits for attachers, ms, process-wide. 0: for ever. Default 10,000. */
MSHARE_API int mshare_set_timeout(int milliseconds);

/*
 * Describe the region of fd, or, if fd is the root directory, the back end.
 * size: sizeof(struct mshare_info) as the caller knows it.
 */
MSHARE_API int mshare_info(int fd, struct mshare_info *info, size_t size);

/*
 * List what is mapped, by rising offset. *count: room in `out`, entries of
 * entry_size bytes each; on return how many there are. ERANGE if they do not
 * fit. out may be NULL with *count 0.
 */
MSHARE_API int mshare_mappings(int fd, struct mshare_mapping *out, size_t entry_size,
			       size_t *count);

/*
 * The call of the first proposal, as a library function. With O_CREAT: make
 * region `name` with the window [addr, addr + length) and turn the anonymous
 * memory that the caller has there into its contents. Without: attach the
 * region that exists at just that address and length.
 */
MSHARE_API int mshare(const char *name, void *addr, size_t length, int oflag, mode_t mode);

/* The version of the library, as MSHARE_VERSION was when it was built. */
MSHARE_API const char *mshare_version(void);

/* The errno of this thread's last failed call here; other calls do not change it. */
MSHARE_API int mshare_errno(void);

/* One sentence on that failure: what failed, on what, why, what to do. Never NULL. */
MSHARE_API const char *mshare_errmsg(void);

#ifdef __cplusplus
}
#endif

#endif /* MSHARE_H */
