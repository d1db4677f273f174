/* SPDX-License-Identifier: MIT */
/*
 * What a back end has to do. The verbs check whatever can be checked without
 * knowing it; a new back end is one more file with one of these.
 */
#ifndef MSHARE_BACKEND_H
#define MSHARE_BACKEND_H

#include "internal.h"

struct adoption;

struct backend {
	uint32_t id;           /* MSHARE_BACKEND_* */
	uint32_t capabilities; /* MSHARE_CAP_* */
	size_t mappings_limit; /* how many a region can have; SIZE_MAX: the kernel knows */

	/* root: a directory on the back end, or -1 for one that needs none */
	int (*create)(int root, mode_t mode);
	/* Which addresses it is meant to have: 0 or an errno, and no fail(). */
	int (*window)(int fd, uint64_t *base, uint64_t *size);
	int (*reserve)(int fd, uint64_t base, uint64_t size);
	int (*map)(int fd, uint64_t offset, uint64_t length, int prot, int flags, int backing_fd,
		   off_t backing_offset);
	int (*unmap)(int fd, uint64_t offset, uint64_t length);
	int (*protect)(int fd, uint64_t offset, uint64_t length, int prot);
	int (*advise)(int fd, uint64_t offset, uint64_t length, int advice);
	void *(*attach)(int fd, void *addr, int prot, int flags);
	/* 1: not an attachment of this back end */
	int (*detach)(void *addr);
	int (*info)(int fd, struct mshare_info *info);
	/* *out: malloc()ed */
	int (*mappings)(int fd, struct mshare_mapping **out, uint32_t *count);
	/*
	 * For mshare(): give the region, which is new, has a window and is known to
	 * nobody, what the caller has in its place.
	 */
	int (*fill)(int fd, const struct adoption *adoption);
	/* Attach it there. If that cannot be, the caller's mappings are as they were. */
	int (*replace)(int fd, const struct adoption *adoption);
};

extern const struct backend backend_msharefs;
extern const struct backend backend_shm;

#endif /* MSHARE_BACKEND_H */
