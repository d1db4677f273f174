// SPDX-License-Identifier: MIT
/* mshare(): the call of the first proposal. */
#include "backend.h"
#include "table.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char verb[] = "mshare";

/* A line of /proc/self/maps, as far as it lies in [start, end). -1: it cannot be adopted. */
static int segment_add(const char *line, uint64_t start, uint64_t end, struct segment **segments,
		       size_t *count)
{
	unsigned long long from, to, inode;
	struct segment *last;
	int prot = 0, name = 0;
	void *list;
	char r, w, x, shared;

	if (sscanf(line, "%llx-%llx %c%c%c%c %*x %*s %llu %n", &from, &to, &r, &w, &x, &shared,
		   &inode, &name) < 7)
		return fail(EIO, "%s: /proc/self/maps has a line of unknown form", verb);
	if (to <= start || from >= end)
		return 0;
	from = from < start ? start : from;
	to = to > end ? end : to;
	/* Memory that prctl(PR_SET_VMA_ANON_NAME) named is anonymous all the same. */
	if (shared != 'p' || inode != 0 || (line[name] && strncmp(line + name, "[anon:", 6)))
		return fail(EOPNOTSUPP,
			    "%s: at 0x%llx something other than private anonymous memory is mapped "
			    "(%.60s)",
			    verb, from, line[name] ? line + name : "shared");
	prot |= r == 'r' ? PROT_READ : 0;
	prot |= w == 'w' ? PROT_WRITE : 0;
	prot |= x == 'x' ? PROT_EXEC : 0;
	last = *count ? &(*segments)[*count - 1] : NULL;
	if (last && last->prot == prot && last->address + last->length == from) {
		last->length += to - from;
		return 0;
	}
	list = reallocarray(*segments, *count + 1, sizeof(**segments));
	if (!list)
		return fail(ENOMEM, "%s: no memory", verb);
	*segments = list;
	(*segments)[(*count)++] = (struct segment){from, to - from, prot};
	return 0;
}

static int segments_collect(uint64_t start, uint64_t end, struct segment **segments, size_t *count)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char *line = NULL;
	size_t size = 0;
	int result = 0;

	if (!maps)
		return fail(errno, "%s: cannot read /proc/self/maps; is /proc mounted?", verb);
	while (result == 0 && getline(&line, &size, maps) > 0) {
		line[strcspn(line, "\n")] = '\0';
		result = segment_add(line, start, end, segments, count);
	}
	free(line);
	fclose(maps);
	return result;
}

static int create(const char *name, void *addr, size_t length, mode_t mode)
{
	uint64_t start = (uint64_t)(uintptr_t)addr;
	struct segment *segments = NULL;
	const char *leaf;
	size_t count = 0;
	int parent, result = -1;

	parent = parent_open(name, ROOT_CREATE, verb, &leaf);
	if (parent == -1)
		return -1;
	/* A name that is taken is found out before there is anything to undo. */
	if (faccessat(parent, leaf, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		fail(EEXIST, "%s: region \"%.200s\" exists", verb, name);
	else if (segments_collect(start, start + length, &segments, &count) == -1)
		result = -1;
	/* Before any of them is copied. */
	else if (count > TABLE_MAX)
		fail(E2BIG, "%s: %zu mappings are there, and a region can have %u", verb, count,
		     TABLE_MAX);
	else
		result = backend_shm.adopt(parent, leaf, mode, addr, length, segments, count);
	free(segments);
	close(parent);
	if (result == -1)
		errno = mshare_errno();
	return result;
}

static int attach(const char *name, void *addr, size_t length, int oflag)
{
	int prot = (oflag & O_ACCMODE) == O_RDWR ? PROT_READ | PROT_WRITE : PROT_READ;
	struct mshare_info info;
	int result = -1;
	int fd = mshare_open(name, oflag & O_ACCMODE, 0);

	if (fd == -1)
		return -1;
	if (mshare_info(fd, &info, sizeof(info)) == -1)
		goto out;
	if (!info.window)
		fail(ENODATA, "%s: region \"%.200s\" has no window yet", verb, name);
	else if (info.base != (uint64_t)(uintptr_t)addr || info.window != length)
		fail(EINVAL, "%s: region \"%.200s\" is 0x%llx bytes at 0x%llx, and not 0x%zx at %p",
		     verb, name, (unsigned long long)info.window, (unsigned long long)info.base,
		     length, addr);
	else if (mshare_attach(fd, addr, prot, 0) != MAP_FAILED)
		result = 0;
out:
	close(fd);
	if (result == -1)
		errno = mshare_errno();
	return result;
}

int mshare(const char *name, void *addr, size_t length, int oflag, mode_t mode)
{
	uint64_t start = (uint64_t)(uintptr_t)addr;
	int access = oflag & O_ACCMODE;

	if (oflag & ~(O_ACCMODE | O_CREAT | O_EXCL | O_CLOEXEC) ||
	    (access != O_RDONLY && access != O_RDWR))
		return fail(EINVAL,
			    "%s: oflag 0x%x is not O_RDONLY or O_RDWR, with O_CREAT and O_EXCL",
			    verb, (unsigned int)oflag);
	if (oflag & O_CREAT && (access != O_RDWR || mode & ~(mode_t)0777))
		return fail(EINVAL, "%s: O_CREAT goes with O_RDWR and a mode of at most 0777",
			    verb);
	if (!addr || start % ALIGNMENT || !length || length % ALIGNMENT ||
	    length > ADDRESS_LIMIT - 2 * ALIGNMENT || start > ADDRESS_LIMIT - ALIGNMENT - length)
		return fail(EINVAL,
			    "%s: %p and 0x%zx have to be multiples of the alignment, 0x%llx, "
			    "inside the "
			    "address space",
			    verb, addr, length, (unsigned long long)ALIGNMENT);
	if (oflag & O_CREAT) {
		if (create(name, addr, length, mode) == 0)
			return 0;
		/* As open() does: an existing one is fine unless O_EXCL. */
		if (errno != EEXIST || oflag & O_EXCL)
			return -1;
	}
	return attach(name, addr, length, oflag);
}
