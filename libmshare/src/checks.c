// SPDX-License-Identifier: MIT
#include "backend.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/msharefs.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

uint64_t page_size(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

/* 0 and the back end, which is NULL where no regions can be; or an errno. */
static int backend_ask(int fd, const struct backend **backend)
{
	struct statfs fs;

	*backend = NULL;
	if (fstatfs(fd, &fs) == -1)
		return errno;
	if (fs.f_type == MSHAREFS_SUPER_MAGIC)
		*backend = &backend_msharefs;
	else if (fs.f_type == TMPFS_MAGIC)
		*backend = &backend_shm;
	return 0;
}

const struct backend *backend_at(int fd)
{
	const struct backend *backend;

	backend_ask(fd, &backend);
	return backend;
}

/* What can be wrong with a descriptor of a file on the back end: 0 or -1 after fail(). */
static int region_check(int fd, const struct backend *backend, const char *verb)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &st) == -1)
		return fail(errno, "%s: descriptor %d cannot be used", verb, fd);
	if (!backend || !S_ISREG(st.stx_mode))
		return fail(
			EINVAL,
			"%s: descriptor %d is no region: it is not a regular file on a msharefs or "
			"a tmpfs",
			verb, fd);
	return 0;
}

int change_check(int fd, const struct backend *backend, const char *verb)
{
	int flags;

	if (region_check(fd, backend, verb) == -1)
		return -1;
	flags = fcntl(fd, F_GETFL);
	if (flags == -1 || flags & O_PATH)
		return fail(EBADF, "%s: descriptor %d was opened with O_PATH", verb, fd);
	if ((flags & O_ACCMODE) != O_RDWR)
		return fail(
			EACCES,
			"%s: descriptor %d is not open for reading and writing; open the region "
			"with O_RDWR",
			verb, fd);
	return 0;
}

static const struct backend *backend_asked(int fd, const char *verb, bool change)
{
	const struct backend *backend;
	int err = backend_ask(fd, &backend);

	if (err) {
		fail(err, "%s: descriptor %d cannot be used", verb, fd);
		return NULL;
	}
	/* Its kernel looks at the descriptor; what was wrong is asked for when it says no. */
	if (change && backend == &backend_msharefs)
		return backend;
	if ((change ? change_check : region_check)(fd, backend, verb) == -1)
		return NULL;
	return backend;
}

const struct backend *backend_of(int fd, const char *verb)
{
	return backend_asked(fd, verb, false);
}

const struct backend *backend_for_change(int fd, const char *verb)
{
	return backend_asked(fd, verb, true);
}

int prot_check(int prot, const char *verb)
{
	if (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC))
		return fail(EINVAL, "%s: prot 0x%x has bits other than PROT_READ, _WRITE and _EXEC",
			    verb, (unsigned int)prot);
	return 0;
}

int exec_check(int fd, int prot, const char *verb)
{
	struct statvfs fs;

	if (!(prot & PROT_EXEC))
		return 0;
	if (fstatvfs(fd, &fs) == -1 || fs.f_flag & ST_NOEXEC)
		return fail(
			EACCES,
			"%s: PROT_EXEC is not to be had: the region is on a file system mounted "
			"noexec",
			verb);
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
