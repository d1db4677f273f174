/* SPDX-License-Identifier: MIT */
/*
 * What a back end has to do. The verbs check whatever can be checked without
 * knowing it; a new back end is one more file with one of these.
 */
#ifndef MSHARE_BACKEND_H
#define MSHARE_BACKEND_H

#include "internal.h"

/* What the caller of mshare() has mapped: sorted, no two adjacent alike. */
struct segment {
	uint64_t address;
	uint64_t length;
	int prot;
};

struct backend {
	uint32_t id;           /* MSHARE_BACKEND_* */
	uint32_t capabilities; /* MSHARE_CAP_* */

	int (*create)(mode_t mode);
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
	 * For mshare(): make a region of the segments, with the window [addr, addr +
	 * length), under the name leaf of parent, and attach it in their place.
	 * EEXIST if the name is taken.
	 */
	int (*adopt)(int parent, const char *leaf, mode_t mode, void *addr, uint64_t length,
		     const struct segment *segments, size_t count);
};

extern const struct backend backend_shm;

#endif /* MSHARE_BACKEND_H */
