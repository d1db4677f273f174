// SPDX-License-Identifier: MIT
#include "base.h"
#include "backend.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

struct interval {
	uint64_t start, end;
};

struct intervals {
	struct interval *list;
	size_t count, room;
};

static bool interval_add(struct intervals *taken, uint64_t start, uint64_t end)
{
	if (taken->count == taken->room) {
		size_t room = taken->room ? 2 * taken->room : 64;
		void *list = reallocarray(taken->list, room, sizeof(*taken->list));

		if (!list)
			return false;
		taken->list = list;
		taken->room = room;
	}
	taken->list[taken->count++] = (struct interval){start, end};
	return true;
}

/* The windows of all regions below the directory. Takes directory over. Best effort. */
static void windows_collect(int directory, int depth, struct intervals *taken)
{
	DIR *dir = fdopendir(directory);
	const struct backend *backend;
	struct dirent *found;
	bool room = true;

	if (!dir) {
		close(directory);
		return;
	}
	backend = backend_at(directory);
	while (backend && room && (found = readdir(dir))) {
		uint64_t base, size;
		int fd;

		if (found->d_type == DT_DIR && depth > 0 && found->d_name[0] != '.') {
			fd = openat(dirfd(dir), found->d_name,
				    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (fd != -1)
				windows_collect(fd, depth - 1, taken);
		}
		if (found->d_type != DT_REG)
			continue;
		fd = openat(dirfd(dir), found->d_name,
			    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd == -1)
			continue;
		if (backend->window(fd, &base, &size) == 0 && base)
			room = interval_add(taken, base, base + size);
		close(fd);
	}
	closedir(dir);
}

/*
 * Where bases are chosen: above what V8 picks for itself (anywhere below 2^46) and
 * below programs (0x55…) and ASan's allocator (0x60…). 20 TiB. A window that is
 * larger than that has to take its chance in the lower part, too.
 */
#define ARENA_START UINT64_C(0x400000000000)
#define ARENA_END UINT64_C(0x540000000000)
#define ARENA_START_LARGE UINT64_C(0x100000000000)

static struct interval arena(uint64_t size)
{
	const char *text = secure_getenv("MSHARE_TEST_ARENA");
	unsigned long long start, end;

	if (text && sscanf(text, "%llx-%llx", &start, &end) == 2 && start && start < end &&
	    end <= ADDRESS_LIMIT)
		return (struct interval){round_up(start, ALIGNMENT), end / ALIGNMENT * ALIGNMENT};
	return (struct interval){size > ARENA_END - ARENA_START ? ARENA_START_LARGE : ARENA_START,
				 ARENA_END};
}

/* Old kernels and interceptors may take the address for a hint. */
void *map_exactly(uint64_t address, uint64_t length, int flags, int fd, uint64_t offset)
{
	void *want = (void *)(uintptr_t)address;
	void *at = mmap(want, length, PROT_NONE, flags | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fd,
			(off_t)offset);

	if (at != MAP_FAILED && at != want) {
		munmap(at, length);
		at = MAP_FAILED;
		errno = EEXIST;
	}
	return at;
}

static bool taken_here(uint64_t start, uint64_t size)
{
	void *at = map_exactly(start, size, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return errno == EEXIST;
	munmap(at, size);
	return false;
}

uint64_t base_choose(uint64_t size)
{
	struct error_state before; /* no root, no other regions: that is no failure */
	struct intervals taken = {0};
	struct interval slots;
	uint64_t base = 0;
	int root;

	slots = arena(size);
	if (size > slots.end - slots.start)
		return 0;
	error_save(&before);
	root = root_open(ROOT_CHECK, "mshare_reserve");
	if (root != -1)
		windows_collect(root, 16, &taken);
	else
		error_raise(&before);
	for (int tries = 0; tries < 1000 && !base; tries++) {
		uint64_t random, choices = (slots.end - slots.start - size) / ALIGNMENT + 1;

		if (getrandom(&random, sizeof(random), 0) != sizeof(random))
			break;
		base = slots.start + random % choices * ALIGNMENT;
		for (size_t i = 0; i < taken.count && base; i++)
			if (base < taken.list[i].end && taken.list[i].start < base + size)
				base = 0;
		if (base && taken_here(base, size))
			base = 0;
	}
	free(taken.list);
	return base;
}
