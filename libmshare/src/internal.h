/* SPDX-License-Identifier: MIT */
/* What the verbs, the back ends and the helpers of libmshare know of one another. */
#ifndef MSHARE_INTERNAL_H
#define MSHARE_INTERNAL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "mshare.h"

/*
 * The shared library is to load on every glibc from 2.28 on, wherever it was
 * built: these moved into libc.so.6 in 2.32 and 2.34 and got new versions there.
 */
#if defined(MSHARE_PIC) && defined(__GLIBC__)
#if defined(__x86_64__)
#define FIRST_GLIBC "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define FIRST_GLIBC "GLIBC_2.17"
#endif
#endif
#ifdef FIRST_GLIBC
#define OLD_SYMBOL(name) __asm__(".symver " #name "," #name "@" FIRST_GLIBC)
OLD_SYMBOL(pthread_attr_setstacksize);
OLD_SYMBOL(pthread_create);
OLD_SYMBOL(pthread_join);
OLD_SYMBOL(pthread_once);
OLD_SYMBOL(pthread_sigmask);
#endif

/* Windows and bases are multiples of this on every back end: one PUD entry of x86-64. */
#define ALIGNMENT (UINT64_C(1) << 30)

/* Above every user address that mmap() gives without being asked for higher ones. */
#ifdef __aarch64__
#define ADDRESS_LIMIT (UINT64_C(1) << 48)
#else
#define ADDRESS_LIMIT (UINT64_C(1) << 47)
#endif

#define MAP_FLAGS (MSHARE_MAP_NORESERVE | MSHARE_MAP_POPULATE | MSHARE_MAP_HUGETLB)
#define ATTACH_FLAGS                                                                               \
	(MSHARE_ATTACH_ANYWHERE | MSHARE_ATTACH_NOFORK | MSHARE_ATTACH_REQUIRE_SHARED_TABLES |     \
	 MSHARE_ATTACH_REUSE)

static inline uint64_t round_up(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) / unit * unit;
}

/* error.c */

struct error_state {
	int err;
	char message[400];
};

/* Record err and the sentence for this thread, set errno, return -1. */
int fail(int err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For carrying a failure from a thread of ours to the caller's. */
void error_save(struct error_state *state);
int error_raise(const struct error_state *state);

/* root.c */

struct backend;

enum root_use {
	ROOT_CREATE, /* make the default root if it is missing, and check it */
	ROOT_CHECK,  /* check it */
	ROOT_BARE,   /* open it and nothing else: for unlink */
};

int root_open(enum root_use use, const char *verb);

/*
 * The back end that names are on, for a region that has none; NULL after fail().
 * *root: the root, or -1 where the default would have to be made, which is not
 * needed.
 */
const struct backend *root_unnamed(int *root, const char *verb);

/* Fails with EINVAL unless name is one by rule 7. */
int name_check(const char *name, const char *verb);

/*
 * The directory that holds name's last component, below the root; *leaf is that
 * component. A name without '/' costs one open of the root.
 */
int parent_open(const char *name, enum root_use use, const char *verb, const char **leaf);

/* openat2() that neither leaves dirfd nor follows symbolic links. */
int open_beneath(int dirfd, const char *path, int flags, mode_t mode);

/* fd open on a directory: the back end that its file system is; NULL after fail(). */
const struct backend *root_backend(int fd, const char *verb);

/* files.c */

/* All of size bytes, or an errno: 0 bytes are ENODATA, fewer than size EUCLEAN. */
int read_all(int fd, void *to, size_t size, uint64_t offset);
int write_all(int fd, const void *from, size_t size, uint64_t offset);

/* Which file a descriptor is of. */
struct identity {
	uint32_t major, minor;
	uint64_t inode;
};

bool identity_of(int fd, struct identity *identity);
bool identity_equal(const struct identity *a, const struct identity *b);

/* checks.c: argument checks that are the same on every back end */

/* The back end of the file system that fd's file is on; NULL if it can hold no regions. */
const struct backend *backend_at(int fd);

/* The back end of fd's region; NULL after fail(). */
const struct backend *backend_of(int fd, const char *verb);

/* The same for a call that changes contents, without change_check() where the kernel does that. */
const struct backend *backend_for_change(int fd, const char *verb);

/* Is fd a region's and open for reading and writing? 0, or -1 after fail(). */
int change_check(int fd, const struct backend *backend, const char *verb);

int prot_check(int prot, const char *verb);

/* PROT_EXEC must not be promised where the file system is mounted noexec: EACCES. */
int exec_check(int fd, int prot, const char *verb);

/* Whole pages, not empty, no overflow. The window is the back end's to check. */
int range_check(size_t offset, size_t length, const char *verb);

uint64_t page_size(void);

/* timeout.c */

int time_limit(void);

#ifdef MSHARE_TEST_POINTS
/*
 * A place that a test can have a process die, stop or fail at. 0, or the errno
 * that the step is to fail with.
 */
int test_point(const char *name);
#else
#define test_point(name) 0
#endif

#endif /* MSHARE_INTERNAL_H */
