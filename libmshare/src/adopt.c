// SPDX-License-Identifier: MIT
#include "adopt.h"
#include "base.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static void holes_release_below(const struct adoption *adoption, uint64_t limit)
{
	uint64_t hole = 0, length;

	for (; table_next_hole(&adoption->table, &hole, &length, limit); hole += length)
		munmap((void *)(uintptr_t)(adoption->base + hole), length);
}

void holes_release(const struct adoption *adoption)
{
	holes_release_below(adoption, adoption->window);
}

int holes_reserve(const struct adoption *adoption)
{
	uint64_t hole = 0, length;
	int err;

	for (; table_next_hole(&adoption->table, &hole, &length, adoption->window);
	     hole += length) {
		err = test_point("adopt-holes");
		if (!err && map_exactly(adoption->base + hole, length, MAP_PRIVATE | MAP_ANONYMOUS,
					-1, 0) == MAP_FAILED)
			err = errno == EEXIST ? EADDRINUSE : errno;
		if (err) {
			holes_release_below(adoption, hole);
			return fail(err,
				    "mshare: cannot have the addresses 0x%llx … 0x%llx, where "
				    "nothing was mapped",
				    (unsigned long long)(adoption->base + hole),
				    (unsigned long long)(adoption->base + hole + length));
		}
	}
	return 0;
}

int source_open(struct source *source, const char *verb)
{
	source->memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	source->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (source->memory != -1 && source->pagemap != -1)
		return 0;
	fail(errno, "%s: cannot read memory through /proc/self/%s", verb,
	     source->memory == -1 ? "mem" : "pagemap");
	source_close(source);
	errno = mshare_errno();
	return -1;
}

void source_close(const struct source *source)
{
	if (source->memory != -1)
		close(source->memory);
	if (source->pagemap != -1)
		close(source->pagemap);
}

/* Bits 63 and 62: present, swapped (Documentation/admin-guide/mm/pagemap.rst). */
static bool has_contents(uint64_t entry)
{
	return entry >> 62;
}

int source_copy(const struct source *source, const struct adoption *adoption,
		const struct entry *segment,
		int (*take)(void *context, int memory, uint64_t address, uint64_t offset,
			    uint64_t length),
		void *context)
{
	const uint64_t page = page_size(), batch = 512;
	uint64_t entries[512];
	int err = 0;

	for (uint64_t at = segment->offset, end = at + segment->length; !err && at < end;
	     at += batch * page) {
		uint64_t n = (end - at) / page < batch ? (end - at) / page : batch, i = 0;

		err = read_all(source->pagemap, entries, n * sizeof(*entries),
			       (adoption->base + at) / page * sizeof(*entries));
		while (!err && i < n) {
			uint64_t first = i;

			while (i < n && has_contents(entries[i]))
				i++;
			if (i > first)
				err = take(context, source->memory,
					   adoption->base + at + first * page, at + first * page,
					   (i - first) * page);
			else
				i++;
		}
	}
	return err;
}

void adoption_undo(const struct adoption *adoption, uint32_t segments,
		   void (*fetch)(void *context, const struct entry *segment, void *to),
		   void *context)
{
	while (segments > 0) {
		const struct entry *segment = &adoption->table.entries[--segments];
		void *at = (void *)(uintptr_t)(adoption->base + segment->offset);

		if (mmap(at, segment->length, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
			/* No memory to restore it to. Nothing that nobody keeps up to date, then.
			 */
			mprotect(at, segment->length, PROT_NONE);
			continue;
		}
		fetch(context, segment, at);
		mprotect(at, segment->length, (int)segment->prot);
	}
}
