/* SPDX-License-Identifier: MIT */
/* Where windows are: choosing a base, and taking addresses that nobody has. */
#ifndef MSHARE_BASE_H
#define MSHARE_BASE_H

#include "internal.h"

/*
 * A random slot of the arena that no region of the root has, nor this process;
 * 0 if there is none. docs/decisions/0006-the-arena.md
 */
uint64_t base_choose(uint64_t size);

/*
 * mmap(PROT_NONE) at just that address, over nothing: MAP_FAILED with EEXIST
 * where something is.
 */
void *map_exactly(uint64_t address, uint64_t length, int flags, int fd, uint64_t offset);

#endif /* MSHARE_BASE_H */
