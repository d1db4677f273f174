// SPDX-License-Identifier: MIT
#include "backend.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

uint64_t page_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

const struct backend *backend_of(int fd, const char *verb)
{
	struct statx st;
	struct statfs fs;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &st) == -1 || fstatfs(fd, &fs) == -1) {
		fail(errno, "%s: descriptor %d cannot be used", verb, fd);
		return NULL;
	}
	if (!S_ISREG(st.stx_mode) || fs.f_type != TMPFS_MAGIC) {
		fail(EINVAL, "%s: descriptor %d is no region: it is not a regular file on a tmpfs",
		     verb, fd);
		return NULL;
	}
	return &backend_shm;
}

const struct backend *backend_for_change(int fd, const char *verb)
{
	const struct backend *backend = backend_of(fd, verb);
	int flags;

	if (!backend)
		return NULL;
	flags = fcntl(fd, F_GETFL);
	if (flags == -1 || flags & O_PATH) {
		fail(EBADF, "%s: descriptor %d was opened with O_PATH", verb, fd);
		return NULL;
	}
	if ((flags & O_ACCMODE) != O_RDWR) {
		fail(EACCES,
		     "%s: descriptor %d is not open for reading and writing; open the region with "
		     "O_RDWR",
		     verb, fd);
		return NULL;
	}
	return backend;
}

int prot_check(int prot, const char *verb)
{
	if (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC))
		return fail(EINVAL, "%s: prot 0x%x has bits other than PROT_READ, _WRITE and _EXEC",
			    verb, (unsigned int)prot);
	return 0;
}

int range_check(size_t offset, size_t length, const char *verb)
{
	uint64_t mask = page_size() - 1;
	uint64_t end;

	if (length == 0)
		return fail(EINVAL, "%s: the length is 0", verb);
	if ((offset & mask) || (length & mask))
		return fail(EINVAL,
			    "%s: offset 0x%zx and length 0x%zx have to be multiples of the page "
			    "size, %llu",
			    verb, offset, length, (unsigned long long)mask + 1);
	if (__builtin_add_overflow((uint64_t)offset, (uint64_t)length, &end))
		return fail(EINVAL, "%s: offset 0x%zx plus length 0x%zx overflows", verb, offset,
			    length);
	return 0;
}
