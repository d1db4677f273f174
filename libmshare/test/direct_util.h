/* SPDX-License-Identifier: MIT */
/* A file that O_DIRECT really is direct on: the kernel writes by page, past the page tables. */
#ifndef MSHARE_TEST_DIRECT_UTIL_H
#define MSHARE_TEST_DIRECT_UTIL_H

#include "test.h"

/* Where this program may use what direct_open() gives. */
#define DIRECT_OFFSET ((off_t)(getpid() % 1024) * (off_t)page())

/*
 * size bytes at DIRECT_OFFSET of it may be written. On tmpfs and overlayfs the flag
 * is taken and means nothing, so there a RAM disk has to do (4 MiB and more; who
 * has one has it for tests). -1 if there is none.
 */
static inline int direct_open(size_t size)
{
	const char *path = temp_path("direct");
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600);
	struct statfs fs;

	unlink(path);
	if (fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type != 0x01021994 /* TMPFS_MAGIC */ &&
	    fs.f_type != 0x794c7630 /* OVERLAYFS_SUPER_MAGIC */) {
		must(ftruncate(fd, DIRECT_OFFSET + (off_t)size) == 0);
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return open("/dev/ram0", O_RDWR | O_DIRECT | O_CLOEXEC);
}

#endif
