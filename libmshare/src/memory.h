/* SPDX-License-Identifier: MIT */
/* How much memory there is for a region: asked before it is promised. */
#ifndef MSHARE_MEMORY_H
#define MSHARE_MEMORY_H

#include "internal.h"

/*
 * 0 if `length` more bytes can be had by this process, its cgroup and the file
 * system of fd; else ENOSPC with the numbers.
 */
int memory_check(int fd, uint64_t length, const char *verb);

/* The failure of an allocation, with the numbers. */
int memory_fail(int fd, int err, uint64_t length, const char *verb);

#endif /* MSHARE_MEMORY_H */
