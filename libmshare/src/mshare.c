// SPDX-License-Identifier: MIT
/* mshare(): the call of the first proposal. */
#include "adopt.h"
#include "backend.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char verb[] = "mshare";

/* What is where, before it is known how many there are. */
struct segments {
	struct adoption *adoption;
	uint32_t room;
};

static int segment_add(struct segments *segments, uint64_t from, uint64_t to, int prot)
{
	struct table *table = &segments->adoption->table;
	struct entry *last = table->count ? &table->entries[table->count - 1] : NULL;
	struct entry next = {
		.offset = from - segments->adoption->base,
		.length = to - from,
		.prot = (uint32_t)prot,
		/* Most inaccessible memory is addresses set aside. */
		.flags = prot == PROT_NONE ? MSHARE_MAP_NORESERVE : 0,
	};

	if (last && last->prot == next.prot && last->offset + last->length == next.offset) {
		last->length += next.length;
		return 0;
	}
	if (table->count == segments->room) {
		uint32_t room = segments->room ? 2 * segments->room : 16;
		void *list = reallocarray(table->entries, room, sizeof(*table->entries));

		if (!list)
			return fail(ENOMEM, "%s: no memory", verb);
		table->entries = list;
		segments->room = room;
	}
	table->entries[table->count++] = next;
	return 0;
}

/* A line of /proc/self/maps, as far as it lies in the window. -1: it cannot be adopted. */
static int line_add(const char *line, struct segments *segments)
{
	uint64_t start = segments->adoption->base, end = start + segments->adoption->window;
	unsigned long long from, to, inode;
	int prot = 0, name = 0;
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
	return segment_add(segments, from, to, prot);
}

static int segments_collect(struct adoption *adoption)
{
	struct segments segments = {.adoption = adoption};
	FILE *maps = fopen("/proc/self/maps", "re");
	char *line = NULL;
	size_t size = 0;
	int result = 0;

	if (!maps)
		return fail(errno, "%s: cannot read /proc/self/maps; is /proc mounted?", verb);
	while (result == 0 && getline(&line, &size, maps) > 0) {
		line[strcspn(line, "\n")] = '\0';
		result = line_add(line, &segments);
	}
	free(line);
	fclose(maps);
	return result;
}

static bool identity_at(int directory, const char *name, struct identity *identity)
{
	int fd = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	bool known = fd != -1 && identity_of(fd, identity);

	if (fd != -1)
		close(fd);
	return known;
}

/*
 * A region of the adoption under the name leaf of parent, attached in its place.
 * Without a name until it is whole: nobody ever opens half of it.
 */
static int adopt(const struct backend *backend, int parent, const char *leaf, mode_t mode,
		 const struct adoption *adoption)
{
	struct identity made, named;
	char path[40];
	int fd, result = -1;

	fd = openat(parent, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
	if (fd == -1)
		return fail(errno, "%s: cannot make a file for the region \"%.100s\"", verb, leaf);
	if (holes_reserve(adoption) == -1)
		goto out;
	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", fd);
	if (backend->reserve(fd, adoption->base, adoption->window) == 0 &&
	    backend->fill(fd, adoption) == 0) {
		if (linkat(AT_FDCWD, path, parent, leaf, AT_SYMLINK_FOLLOW) == -1)
			fail(errno, "%s: cannot give the region the name \"%.100s\"", verb, leaf);
		else if (backend->replace(fd, adoption) == 0)
			result = 0;
		else if (identity_of(fd, &made) && identity_at(parent, leaf, &named) &&
			 identity_equal(&made, &named))
			unlinkat(parent, leaf, 0);
	}
	if (result == -1)
		holes_release(adoption);
out:
	close(fd);
	return result;
}

static int create(const char *name, void *addr, size_t length, mode_t mode)
{
	struct adoption adoption = {.base = (uint64_t)(uintptr_t)addr, .window = length};
	const struct backend *backend;
	const char *leaf;
	int parent, cancel, result = -1;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	parent = parent_open(name, ROOT_CREATE, verb, &leaf);
	backend = parent == -1 ? NULL : root_backend(parent, verb);
	if (!backend)
		result = -1;
	/* A name that is taken is found out before there is anything to undo. */
	else if (faccessat(parent, leaf, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		fail(EEXIST, "%s: region \"%.200s\" exists", verb, name);
	else if (segments_collect(&adoption) == -1)
		result = -1;
	/* Before any of them is copied. */
	else if (adoption.table.count > backend->mappings_limit)
		fail(E2BIG, "%s: %u mappings are there, and a region can have %zu", verb,
		     adoption.table.count, backend->mappings_limit);
	else
		result = adopt(backend, parent, leaf, mode, &adoption);
	free(adoption.table.entries);
	if (parent != -1)
		close(parent);
	pthread_setcancelstate(cancel, NULL);
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
