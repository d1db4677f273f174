// SPDX-License-Identifier: MIT
/*
 * tmpfs answers ENOSPC when its own limit is reached. Beyond that, when RAM or
 * the cgroup's limit is, the answer is the OOM killer. So those are looked at
 * first: MemAvailable and SwapFree of proc(5), and the memory controller's files
 * of every cgroup above us (Documentation/admin-guide/cgroup-v2.rst, and
 * cgroup-v1/memory.rst).
 */
#include "memory.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/msharefs.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define NO_LIMIT UINT64_MAX

struct room {
	uint64_t bytes;
	const char *of; /* who says so */
};

static void room_limit(struct room *room, uint64_t bytes, const char *of)
{
	if (bytes < room->bytes)
		*room = (struct room){bytes, of};
}

/* A small file of /proc or a cgroup, NUL-terminated; empty if it cannot be read. */
static void file_read(const char *directory, const char *name, char *text, size_t size)
{
	char path[PATH_MAX];
	ssize_t n = -1;
	int fd;

	text[0] = '\0';
	if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return;
	n = read(fd, text, size - 1);
	text[n > 0 ? n : 0] = '\0';
	close(fd);
}

/* The number behind a key at the beginning of a line; 0 if there is none. */
static uint64_t field(const char *text, const char *key)
{
	size_t length = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, key, length))
			return strtoull(line + length, NULL, 10);
	}
	return 0;
}

static uint64_t number(const char *directory, const char *name)
{
	char text[64];

	file_read(directory, name, text, sizeof(text));
	/* "max", or no such file */
	if (text[0] < '0' || text[0] > '9')
		return NO_LIMIT;
	return strtoull(text, NULL, 10);
}

static uint64_t left(uint64_t limit, uint64_t used)
{
	if (limit == NO_LIMIT || used == NO_LIMIT)
		return NO_LIMIT;
	return used < limit ? limit - used : 0;
}

static uint64_t add(uint64_t a, uint64_t b)
{
	return a > NO_LIMIT - b ? NO_LIMIT : a + b;
}

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Version 2: what one cgroup lets us have. Its page cache can be had, and its swap. */
static void cgroup2_room(const char *directory, uint64_t swap, struct room *room)
{
	char stat[8192];
	uint64_t bytes = left(number(directory, "memory.max"), number(directory, "memory.current"));

	if (bytes == NO_LIMIT)
		return;
	file_read(directory, "memory.stat", stat, sizeof(stat));
	bytes = add(bytes, field(stat, "active_file ") + field(stat, "inactive_file "));
	swap = min(swap, left(number(directory, "memory.swap.max"),
			      number(directory, "memory.swap.current")));
	room_limit(room, add(bytes, swap), "the cgroup's memory.max");
}

static void cgroup1_room(const char *directory, uint64_t swap, struct room *room)
{
	char stat[8192];
	uint64_t bytes = left(number(directory, "memory.limit_in_bytes"),
			      number(directory, "memory.usage_in_bytes"));
	uint64_t both = left(number(directory, "memory.memsw.limit_in_bytes"),
			     number(directory, "memory.memsw.usage_in_bytes"));
	uint64_t cache;

	if (bytes == NO_LIMIT)
		return;
	file_read(directory, "memory.stat", stat, sizeof(stat));
	cache = field(stat, "total_active_file ") + field(stat, "total_inactive_file ");
	room_limit(room, min(add(add(bytes, cache), swap), add(both, cache)),
		   "the cgroup's memory.limit_in_bytes");
}

/*
 * Where the cgroup `path` is below a mount whose line of mountinfo is `line`:
 * fields 4 (root) and 5 (mount point) of proc(5).
 */
static bool cgroup_directory(const char *line, const char *path, char *directory, size_t size,
			     size_t *top)
{
	char root[PATH_MAX], point[PATH_MAX];
	size_t length;

	if (sscanf(line, "%*s %*s %*s %4095s %4095s", root, point) != 2)
		return false;
	/* In a container the mount may begin at our own cgroup. */
	length = strcmp(root, "/") ? strlen(root) : 0;
	if (!strncmp(path, root, length) && (path[length] == '/' || !path[length]))
		path += length;
	else
		path = "";
	*top = strlen(point);
	return snprintf(directory, size, "%s%s", point, path) < (int)size;
}

static void cgroup_room(uint64_t swap, struct room *room)
{
	char *cgroup = NULL, *mount = NULL;
	size_t cgroup_size = 0, mount_size = 0;
	FILE *cgroups = fopen("/proc/self/cgroup", "re");

	while (cgroups && getline(&cgroup, &cgroup_size, cgroups) > 0) {
		bool v2 = !strncmp(cgroup, "0::", 3);
		char *controllers = strchr(cgroup, ':');
		char *path = controllers ? strchr(controllers + 1, ':') : NULL;
		FILE *mounts;

		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		if (!v2 && !strstr(controllers, "memory"))
			continue;
		mounts = fopen("/proc/self/mountinfo", "re");
		while (mounts && getline(&mount, &mount_size, mounts) > 0) {
			const char *type = strstr(mount, " - ");
			char directory[PATH_MAX];
			size_t top;

			if (!type ||
			    (v2 ? strncmp(type, " - cgroup2 ", 11)
				: strncmp(type, " - cgroup ", 10) || !strstr(type, "memory")))
				continue;
			if (!cgroup_directory(mount, path, directory, sizeof(directory), &top))
				continue;
			/* The limits of all above count, too. */
			for (;;) {
				char *slash;

				(v2 ? cgroup2_room : cgroup1_room)(directory, swap, room);
				slash = strrchr(directory, '/');
				if (strlen(directory) <= top || !slash)
					break;
				*slash = '\0';
			}
			break;
		}
		if (mounts)
			fclose(mounts);
	}
	if (cgroups)
		fclose(cgroups);
	free(cgroup);
	free(mount);
}

static struct room system_room(void)
{
	struct room room = {NO_LIMIT, "nobody"};
	char text[4096];
	uint64_t available, swap;
	struct sysinfo info;

	file_read("/proc", "meminfo", text, sizeof(text));
	available = field(text, "MemAvailable:") << 10;
	swap = field(text, "SwapFree:") << 10;
	/* No /proc: the page cache, which could be freed, is then left out. */
	if (!available && sysinfo(&info) == 0) {
		available = (uint64_t)(info.freeram + info.bufferram) * info.mem_unit;
		swap = (uint64_t)info.freeswap * info.mem_unit;
	}
	room_limit(&room, add(available, swap), "the system's available memory and swap");
	cgroup_room(swap, &room);
	return room;
}

/* What the region's own file system has left. */
static void filesystem_room(int fd, struct room *room)
{
	struct statfs fs;

	/* A memfd's file system has no limit, and says 0 blocks. */
	if (fstatfs(fd, &fs) == 0 && fs.f_blocks)
		room_limit(room, (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize,
			   fs.f_type == MSHAREFS_SUPER_MAGIC
				   ? "the msharefs (df; mount -o remount,size= grows it)"
				   : "the tmpfs (df; mount -o remount,size= grows it)");
}

/* What may be promised, used or not: Documentation/mm/overcommit-accounting.rst. */
static void commit_room(struct room *room)
{
	char text[4096], mode[16];
	uint64_t limit;

	file_read("/proc/sys/vm", "overcommit_memory", mode, sizeof(mode));
	file_read("/proc", "meminfo", text, sizeof(text));
	if (mode[0] == '2') {
		limit = field(text, "CommitLimit:");
		room_limit(room, left(limit << 10, field(text, "Committed_AS:") << 10),
			   "the system's commit limit (vm.overcommit_memory is 2)");
	} else if (mode[0] == '0') {
		limit = field(text, "MemTotal:") + field(text, "SwapTotal:");
		room_limit(room, limit << 10,
			   "the system's memory and swap (vm.overcommit_memory is 0)");
	}
}

/*
 * Asking costs some 100 µs, which many small maps cannot pay each. One that asks
 * gives a credit of an eighth of the answer, good for a tenth of a second.
 */
static _Atomic uint64_t credit, credit_ends;

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Can the system and the cgroup give `length`? By credit if there is some. */
static bool system_has(uint64_t length, struct room *room)
{
	uint64_t had = atomic_load(&credit);

	while (length <= had && now_ms() < atomic_load(&credit_ends))
		if (atomic_compare_exchange_weak(&credit, &had, had - length))
			return true;
	*room = system_room();
	if (length > room->bytes)
		return false;
	atomic_store(&credit, (room->bytes - length) / 8);
	atomic_store(&credit_ends, now_ms() + 100);
	return true;
}

int memory_check(int fd, uint64_t length, const char *verb)
{
	struct room room = {NO_LIMIT, "nobody"};

	/* The file system first: it is cheap to ask, and what it refuses costs no credit. */
	filesystem_room(fd, &room);
	if (length <= room.bytes && system_has(length, &room))
		return 0;
	return fail(ENOSPC, "%s: %llu bytes are asked for, and %s has %llu left", verb,
		    (unsigned long long)length, room.of, (unsigned long long)room.bytes);
}

int memory_fail(int fd, int err, uint64_t length, const char *verb)
{
	struct room room = system_room();

	filesystem_room(fd, &room);
	if (err == ENOMEM)
		commit_room(&room);
	return fail(err == ENOMEM ? ENOSPC : err,
		    "%s: %llu bytes cannot be allocated: %s has %llu left", verb,
		    (unsigned long long)length, room.of, (unsigned long long)room.bytes);
}
