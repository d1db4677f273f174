// SPDX-License-Identifier: GPL-2.0-only
/*
 * Huge pages in the shared tables: memory that is advised to be huge is mapped
 * so for all attachers at once, with a fault for each 2 MiB; a part of it is
 * unmapped, protected, freed, and the rest stays what it was.
 */
#include <linux/falloc.h>

#include "mshare_test.h"

#define SHMEM_HUGE	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define HUGE		(2 * MIB)

FIXTURE(thp) {
	struct env env;
	int fd;
	int file;
	char *map;
	size_t size;
	struct peer peer;
	char before[128];
};

FIXTURE_VARIANT(thp) {
	enum backing_kind kind;
};

FIXTURE_VARIANT_ADD(thp, memory) {
	.kind = ANONYMOUS,
};

FIXTURE_VARIANT_ADD(thp, memfd) {
	.kind = MEMFD,
};

FIXTURE_SETUP(thp)
{
	char *end;

	self->size = by_scale(4, 16) * HUGE;
	ENV_ENTER(&self->env, NULL);
	if (read_file(SHMEM_HUGE, self->before, sizeof(self->before)) < 0) {
		env_leave(&self->env);
		SKIP(return, "no huge pages in this kernel");
	}
	/* The chosen one is in brackets. */
	memmove(self->before, strchr(self->before, '[') + 1,
		strlen(strchr(self->before, '[')));
	end = strchr(self->before, ']');
	*end = 0;
	ASSERT_EQ(0, write_file(SHMEM_HUGE, "advise"));
	BACKING_NEW(self->file, &self->env, variant->kind, self->size);
	self->fd = region_new(self->env.dir, "region", SLOT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, backing_map(self->fd, 0, self->size, RW, self->file, 0));
	ASSERT_EQ(0, region_advise(self->fd, 0, self->size, MADV_HUGEPAGE));
	self->map = region_attach(self->fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, self->map);
	ASSERT_EQ(0, peer_start(&self->peer));
}

FIXTURE_TEARDOWN(thp)
{
	write_file(SHMEM_HUGE, self->before);
	ENV_LEAVE(&self->env);
}

/* Bytes of the attachment that are mapped by huge pages. */
static long huge_bytes(const char *map)
{
	return smaps_of(getpid(), map, "ShmemPmdMapped", NULL, 0) * (long)KIB;
}

/* Fragmented memory is no fault of ours; then there is nothing to test. */
#define FILL_HUGE() do { \
	write_file("/proc/sys/vm/compact_memory", "1"); \
	fill_pages(self->map, self->size, 1); \
	EXPECT_EQ(self->size, huge_bytes(self->map)); \
} while (0)

/* By way of another mapping of the file: its page table, not the region's. */
TEST_F(thp, collapsed_by_somebody_else)
{
	char *own;

	if (variant->kind == ANONYMOUS)
		return;
	ASSERT_EQ(0, region_advise(self->fd, 0, self->size, MADV_NOHUGEPAGE));
	fill_pages(self->map, self->size, 1);
	EXPECT_EQ(0, peer_call(&self->peer, do_check, (long)self->map,
			       self->size, 1));
	own = mmap(NULL, self->size + HUGE, RW, MAP_SHARED, self->file, 0);
	ASSERT_NE(MAP_FAILED, own);
	ASSERT_EQ(0, munmap(own, self->size + HUGE));
	own = (char *)(((uintptr_t)own + HUGE - 1) & ~(HUGE - 1));
	own = mmap(own, self->size, RW, MAP_SHARED | MAP_FIXED_NOREPLACE,
		   self->file, 0);
	ASSERT_NE(MAP_FAILED, own);
	fill_pages(own, self->size, 2);
	ASSERT_EQ(0, madvise(own, self->size, MADV_COLLAPSE));
	EXPECT_EQ(self->size, huge_bytes(own));
	/* One file, wherever one looks and writes. */
	EXPECT_EQ(0, check_pages(self->map, self->size, 2));
	EXPECT_EQ(0, peer_call(&self->peer, do_check, (long)self->map,
			       self->size, 2));
	fill_pages(own, self->size, 3);
	EXPECT_EQ(0, peer_call(&self->peer, do_check, (long)self->map,
			       self->size, 3));
	EXPECT_EQ(0, peer_call(&self->peer, do_fill, (long)self->map,
			       self->size, 4));
	EXPECT_EQ(0, check_pages(own, self->size, 4));
	ASSERT_EQ(0, munmap(own, self->size));
	EXPECT_EQ(0, check_pages(self->map, self->size, 4));
}

TEST_F(thp, mapped_for_all)
{
	long before = meminfo("ShmemPmdMapped"), faults;

	faults = minflt();
	FILL_HUGE();
	faults = minflt() - faults;
	note("%zu huge pages, %ld faults", self->size / HUGE, faults);
	EXPECT_GE(self->size / HUGE + 64, faults);
	/* Once, however many attachers there are. */
	EXPECT_EQ(0, peer_call(&self->peer, do_check, (long)self->map,
			       self->size, 1));
	EXPECT_EQ(before + self->size / KIB, meminfo("ShmemPmdMapped"));
	EXPECT_GE(2, peer_call(&self->peer, do_touch, (long)self->map,
			       self->size, 0));
	EXPECT_EQ(self->size, smaps_of(self->peer.pid, self->map,
				       "ShmemPmdMapped", NULL, 0) * KIB);
	EXPECT_EQ(self->size, region_info(self->fd).resident);
	EXPECT_EQ(0, region_unmap(self->fd, 0, self->size));
	EXPECT_EQ(before, meminfo("ShmemPmdMapped"));
}

TEST_F(thp, unmap_in_part)
{
	FILL_HUGE();
	ASSERT_EQ(0, peer_call(&self->peer, do_check, (long)self->map,
			       self->size, 1));
	/* In the second one: the others are as they were. */
	ASSERT_EQ(0, region_unmap(self->fd, HUGE + 4 * psize, 4 * psize));
	EXPECT_EQ(SIG(SIGSEGV), do_read((long)self->map + HUGE + 4 * psize, 0,
					0));
	EXPECT_EQ(SIG(SIGSEGV), peer_call(&self->peer, do_read,
					  (long)self->map + HUGE + 7 * psize, 0,
					  0));
	for (size_t i = 0; i < self->size; i += psize) {
		if (i >= HUGE + 4 * psize && i < HUGE + 8 * psize)
			continue;
		ASSERT_EQ(mix(1, i), peek(self->map + i));
	}
	EXPECT_GE(self->size - HUGE, huge_bytes(self->map));
	EXPECT_LT(0, huge_bytes(self->map));
	/* The hole is filled with something else. */
	ASSERT_EQ(0, region_map(self->fd, HUGE + 4 * psize, 4 * psize, RW));
	EXPECT_EQ(0, peer_call(&self->peer, do_read,
			       (long)self->map + HUGE + 4 * psize, 0, 0));
	EXPECT_EQ(0, peer_call(&self->peer, do_write,
			       (long)self->map + HUGE + 4 * psize, 5, 0));
	EXPECT_EQ(5, peek(self->map + HUGE + 4 * psize));
	EXPECT_EQ(mix(1, HUGE + 3 * psize), peek(self->map + HUGE + 3 * psize));
}

TEST_F(thp, protect_in_part)
{
	FILL_HUGE();
	ASSERT_EQ(0, peer_call(&self->peer, do_check, (long)self->map,
			       self->size, 1));
	ASSERT_EQ(0, region_protect(self->fd, psize, psize, PROT_READ));
	EXPECT_EQ(SIG(SIGSEGV), do_write((long)self->map + psize, 1, 0));
	EXPECT_EQ(SIG(SIGSEGV), peer_call(&self->peer, do_write,
					  (long)self->map + psize, 1, 0));
	EXPECT_EQ(0, peer_call(&self->peer, do_write,
			       (long)self->map + 2 * psize, mix(1, 2 * psize),
			       0));
	ASSERT_EQ(0, region_protect(self->fd, HUGE, HUGE, PROT_READ));
	/* A whole one stays whole. */
	EXPECT_LE(self->size - HUGE, huge_bytes(self->map));
	EXPECT_EQ(SIG(SIGSEGV), do_write((long)self->map + HUGE, 1, 0));
	EXPECT_EQ(SIG(SIGSEGV), peer_call(&self->peer, do_write,
					  (long)self->map + HUGE + 5 * psize, 1,
					  0));
	ASSERT_EQ(0, region_protect(self->fd, 0, self->size, PROT_NONE));
	EXPECT_EQ(SIG(SIGSEGV), peer_call(&self->peer, do_read,
					  (long)self->map + 2 * HUGE, 0, 0));
	ASSERT_EQ(0, region_protect(self->fd, 0, self->size, RW));
	EXPECT_EQ(0, peer_call(&self->peer, do_check, (long)self->map,
			       self->size, 1));
}

TEST_F(thp, freed_in_part)
{
	FILL_HUGE();
	ASSERT_EQ(0, peer_call(&self->peer, do_check, (long)self->map,
			       self->size, 1));
	if (self->file == -1) {
		ASSERT_EQ(0, region_advise(self->fd, 8 * psize, psize,
					   MADV_REMOVE));
	} else {
		ASSERT_EQ(0, fallocate(self->file, FALLOC_FL_PUNCH_HOLE |
				       FALLOC_FL_KEEP_SIZE, 8 * psize, psize));
	}
	EXPECT_EQ(0, peer_call(&self->peer, do_read,
			       (long)self->map + 8 * psize, 0, 0));
	EXPECT_EQ(0, peek(self->map + 8 * psize));
	for (size_t i = 0; i < self->size; i += psize)
		ASSERT_EQ(i == 8 * psize ? 0 : mix(1, i), peek(self->map + i));
}

TEST_F(thp, unmapped_and_mapped_again)
{
	FILL_HUGE();
	ASSERT_EQ(0, region_unmap(self->fd, 0, self->size));
	ASSERT_EQ(0, backing_map(self->fd, 0, self->size, RW, self->file, 0));
	ASSERT_EQ(0, region_advise(self->fd, 0, self->size, MADV_HUGEPAGE));
	for (size_t i = 0; i < self->size; i += psize)
		ASSERT_EQ(self->file == -1 ? 0 : mix(1, i), peek(self->map + i));
	/* No small table had been built there: they are huge again. */
	EXPECT_EQ(self->size, huge_bytes(self->map));
}

/* Where small pages were, tables are, and stay while somebody is attached. */
TEST_F(thp, after_small_ones)
{
	struct mshare_region_info info;
	char *map;

	ASSERT_EQ(0, region_unmap(self->fd, 0, self->size));
	ASSERT_EQ(0, region_map(self->fd, 0, self->size, RW));
	ASSERT_EQ(0, region_advise(self->fd, 0, self->size, MADV_NOHUGEPAGE));
	fill_pages(self->map, self->size, 1);
	EXPECT_EQ(0, huge_bytes(self->map));
	ASSERT_EQ(0, region_unmap(self->fd, 0, self->size));
	info = region_info(self->fd);
	EXPECT_LE(self->size / 512, info.page_table_bytes);
	ASSERT_EQ(0, region_map(self->fd, 0, self->size, RW));
	ASSERT_EQ(0, region_advise(self->fd, 0, self->size, MADV_HUGEPAGE));
	fill_pages(self->map, self->size, 2);
	EXPECT_EQ(0, check_pages(self->map, self->size, 2));
	EXPECT_EQ(0, peer_call(&self->peer, do_check, (long)self->map,
			       self->size, 2));
	note("%ld of %zu KiB are huge while tables are kept",
	     huge_bytes(self->map) / (long)KIB, self->size / KIB);
	/* Nobody is attached: the tables of what is unmapped go. */
	ASSERT_EQ(0, peer_stop(&self->peer));
	ASSERT_EQ(0, region_unmap(self->fd, 0, self->size));
	ASSERT_EQ(0, munmap(self->map, SLOT));
	EXPECT_GT(self->size / 512, region_info(self->fd).page_table_bytes);
	ASSERT_EQ(0, region_map(self->fd, 0, self->size, RW));
	ASSERT_EQ(0, region_advise(self->fd, 0, self->size, MADV_HUGEPAGE));
	map = region_attach(self->fd, self->map, RW);
	ASSERT_EQ(self->map, map);
	write_file("/proc/sys/vm/compact_memory", "1");
	fill_pages(self->map, self->size, 3);
	EXPECT_EQ(self->size, huge_bytes(self->map));
	EXPECT_EQ(0, check_pages(self->map, self->size, 3));
}

TEST_F(thp, several_first_touches)
{
	pid_t pids[8];
	int status;

	write_file("/proc/sys/vm/compact_memory", "1");
	for (int i = 0; i < 8; i++) {
		pids[i] = fork_mortal();
		if (pids[i])
			continue;
		for (size_t at = i * psize; at < self->size; at += 8 * psize)
			poke(self->map + at, mix(1, at));
		_exit(0);
	}
	for (int i = 0; i < 8; i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	EXPECT_EQ(0, check_pages(self->map, self->size, 1));
	EXPECT_EQ(self->size, huge_bytes(self->map));
}

/* Unmapped in the middle, while others touch: splitting under faults. */
TEST_F(thp, split_under_faults)
{
	volatile int *stop = mmap(NULL, psize, RW, MAP_SHARED | MAP_ANONYMOUS,
				  -1, 0);
	int n = cpus() < 8 ? 2 * cpus() : 8, status;
	long rounds = by_scale(20, 200);
	pid_t pids[16];
	uint64_t random = getpid();

	ASSERT_NE(MAP_FAILED, stop);
	note("seed %lu", (long)random);
	FILL_HUGE();
	for (int i = 0; i < n; i++) {
		pids[i] = fork_mortal();
		if (pids[i])
			continue;
		random += i + 1;
		while (!*stop) {
			size_t at = rnd(&random) % (self->size / psize) * psize;
			uint64_t value;

			if (!probe_read(self->map + at, &value) && value &&
			    value != mix(1, at))
				_exit(1);
			if (rnd(&random) % 2)
				probe_write(self->map + at, mix(1, at));
		}
		_exit(0);
	}
	for (long i = 0; i < rounds; i++) {
		size_t at = rnd(&random) % (self->size / psize - 4) * psize;

		switch (rnd(&random) % 4) {
		case 0:
			ASSERT_EQ(0, region_unmap(self->fd, at, 4 * psize));
			ASSERT_EQ(0, backing_map(self->fd, at, 4 * psize, RW,
						 self->file, at));
			break;
		case 1:
			ASSERT_EQ(0, region_protect(self->fd, at, 4 * psize,
						    PROT_READ));
			ASSERT_EQ(0, region_protect(self->fd, at, 4 * psize,
						    RW));
			break;
		case 2:
			ASSERT_EQ(0, region_advise(self->fd, at, 4 * psize,
						   MADV_DONTNEED));
			break;
		default:
			/* From the beginning, where it can be huge again. */
			ASSERT_EQ(0, region_unmap(self->fd, 0, self->size));
			ASSERT_EQ(0, backing_map(self->fd, 0, self->size, RW,
						 self->file, 0));
			ASSERT_EQ(0, region_advise(self->fd, 0, self->size,
						   MADV_HUGEPAGE));
			break;
		}
	}
	*stop = 1;
	for (int i = 0; i < n; i++) {
		ASSERT_EQ(pids[i], waitpid(pids[i], &status, 0));
		EXPECT_EQ(0, status);
	}
}

TEST_HARNESS_MAIN
