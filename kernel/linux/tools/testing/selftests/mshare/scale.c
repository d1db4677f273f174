// SPDX-License-Identifier: GPL-2.0-only
/*
 * What it is for: many processes, much memory, one set of page tables. All of
 * it is counted: tables, faults, what each further process adds; and the same
 * with a memfd beside it, in the same boot. Times are printed and judged by
 * nobody.
 */
#include "mshare_test.h"

FIXTURE(scale) {
	struct env env;
	size_t size;
	int processes;
	struct peer *peers;
};

FIXTURE_SETUP(scale)
{
	long available = meminfo("MemAvailable") * KIB;

	ENV_ENTER(&self->env, NULL);
	self->size = scale() == 10 ? GIB : by_scale(8, 512) * MIB;
	self->processes = by_scale(8, 64);
	/* A page table for each process and 2 MiB is what a memfd takes. */
	while ((long)(self->size + self->size / 512 * self->processes +
		      self->processes * 2 * MIB) > available / 10 * 8)
		self->size /= 2;
	note("%d processes, %zu MiB", self->processes, self->size / MIB);
	self->peers = calloc(4 * self->processes, sizeof(*self->peers));
	ASSERT_NE(NULL, self->peers);
}

FIXTURE_TEARDOWN(scale)
{
	ENV_LEAVE(&self->env);
}

struct result {
	long tables;		/* kB, all of the machine's, that were added */
	long faults;
	double seconds;
	double exit_seconds;
};

/* Reads and writes every page. */
static long do_both(long addr, long size, long unused)
{
	long before = minflt();

	for (long i = 0; i < size; i += psize) {
		volatile uint64_t *word = (void *)(addr + i);

		*word += 1;
	}
	return minflt() - before;
}

static struct result all_of_them(struct __test_metadata *_metadata,
				 struct _test_data_scale *self, char *map)
{
	struct result r = {};
	long before;
	double begin;

	for (int i = 0; i < self->processes; i++) {
		ASSERT_EQ(0, peer_start(&self->peers[i]));
		peer_call(&self->peers[i], do_both, (long)map, 0, 0);
	}
	before = meminfo("PageTables");
	begin = now();
	for (int i = 0; i < self->processes; i++)
		peer_send(&self->peers[i], do_both, (long)map, self->size, 0);
	for (int i = 0; i < self->processes; i++) {
		long faults = peer_wait(&self->peers[i]);

		ASSERT_LE(0, faults);
		r.faults += faults;
	}
	r.seconds = now() - begin;
	r.tables = meminfo("PageTables") - before;
	begin = now();
	for (int i = 0; i < self->processes; i++)
		peer_stop(&self->peers[i]);
	r.exit_seconds = now() - begin;
	return r;
}

/* Maps memory of small pages, attaches, and touches all of it. */
static char *fill_region(struct __test_metadata *_metadata,
			 struct _test_data_scale *self, int fd)
{
	char *map;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, region_map(fd, 0, self->size, RW));
	region_advise(fd, 0, self->size, MADV_NOHUGEPAGE);
	map = region_attach(fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, map);
	do_both((long)map, self->size, 0);
	return map;
}

TEST_F(scale, against_memfd)
{
	int fd = region_new(self->env.dir, "region", SLOT), file;
	struct mshare_region_info info;
	struct result ours, theirs;
	size_t pages = self->size / psize;
	uint64_t limit;
	char *map;

	map = fill_region(_metadata, self, fd);
	ours = all_of_them(_metadata, self, map);
	info = region_info(fd);
	note("region: %ld kB of page tables added, %ld faults, %.2f s, exit %.2f s; the shared tables are %lu kB",
	     ours.tables, ours.faults, ours.seconds, ours.exit_seconds,
	     (long)info.page_table_bytes / 1024);
	/* 2 MiB and a few pages for each GiB, and once. */
	limit = self->size / 512 + 16 * KIB * (self->size / GIB + 1);
	EXPECT_GE(limit, info.page_table_bytes);
	/* Each process: at most what the way to the slot takes. */
	EXPECT_GE(16 * self->processes, ours.tables);
	EXPECT_GE(2 * self->processes, ours.faults);
	EXPECT_EQ(self->size, info.resident);
	ASSERT_EQ(0, munmap(map, SLOT));
	ASSERT_EQ(0, close(fd));
	drop_all(self->env.dir);
	{
		char path[64];

		snprintf(path, sizeof(path), "%s/region", self->env.dir);
		ASSERT_EQ(0, unlink(path));
	}

	file = memfd_create("file", MFD_CLOEXEC);
	ASSERT_EQ(0, ftruncate(file, self->size));
	map = mmap(NULL, self->size, RW, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, map);
	madvise(map, self->size, MADV_NOHUGEPAGE);
	do_both((long)map, self->size, 0);
	theirs = all_of_them(_metadata, self, map);
	note("memfd: %ld kB of page tables added, %ld faults, %.2f s, exit %.2f s",
	     theirs.tables, theirs.faults, theirs.seconds, theirs.exit_seconds);
	/* The control: this is what is saved. */
	EXPECT_LE(self->processes * self->size / 512 / KIB, theirs.tables + 64);
	EXPECT_LE(self->processes * pages / 16, theirs.faults);
	EXPECT_LT(ours.tables, theirs.tables);
	EXPECT_LT(ours.faults, theirs.faults);
}

/* Four times as many processes: what each adds stays what it is. */
TEST_F(scale, four_times_as_many)
{
	int fd = region_new(self->env.dir, NULL, SLOT);
	struct mshare_region_info info;
	struct result r;
	char *map;

	map = fill_region(_metadata, self, fd);
	self->processes *= 4;
	r = all_of_them(_metadata, self, map);
	info = region_info(fd);
	note("%d processes: %ld kB of page tables added, %ld faults; the shared tables are %lu kB",
	     self->processes, r.tables, r.faults,
	     (long)info.page_table_bytes / 1024);
	EXPECT_GE(self->size / 512 + 16 * KIB * (self->size / GIB + 1),
		  info.page_table_bytes);
	EXPECT_GE(16 * self->processes, r.tables);
	EXPECT_GE(2 * self->processes, r.faults);
	EXPECT_EQ(1, region_info(fd).attachments);
}

/* Many slots, a page in each: what a window costs that is used thinly. */
TEST_F(scale, thin)
{
	int slots = by_scale(64, 512), n = 8;
	int fd = region_new(self->env.dir, NULL, slots * SLOT);
	struct peer peers[8];
	long before;
	char *map;

	ASSERT_LE(0, fd);
	map = region_attach(fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, map);
	for (int i = 0; i < slots; i++) {
		ASSERT_EQ(0, region_map(fd, i * SLOT, psize, RW));
		poke(map + i * SLOT, i);
	}
	for (int i = 0; i < n; i++)
		ASSERT_EQ(0, peer_start(&peers[i]));
	before = meminfo("PageTables");
	for (int i = 0; i < n; i++)
		for (int j = 0; j < slots; j++)
			ASSERT_EQ(j, peer_call(&peers[i], do_read,
					       (long)map + j * SLOT, 0, 0));
	note("%d slots, %lu kB of shared tables; %d processes added %ld kB",
	     slots, (long)region_info(fd).page_table_bytes / 1024, n,
	     (long)meminfo("PageTables") - before);
	EXPECT_EQ((n + 1) * slots, region_info(fd).links);
	/* A PUD table for each 512 slots; some way down to it. */
	EXPECT_GE(n * 32, (long)meminfo("PageTables") - before);
}

/* Attaching costs the same, whatever is in there. */
TEST_F(scale, attaching)
{
	int n = by_scale(100, 2000);
	int fd = region_new(self->env.dir, NULL, SLOT);
	double begin, one, many;
	char *map;

	ASSERT_LE(0, fd);
	begin = now();
	for (int i = 0; i < n; i++) {
		map = region_attach(fd, NULL, RW);
		ASSERT_NE(MAP_FAILED, map);
		ASSERT_EQ(0, munmap(map, SLOT));
	}
	one = now() - begin;
	for (int i = 0; i < 500; i++)
		ASSERT_EQ(0, region_map(fd, 2 * i * psize, psize, RW));
	begin = now();
	for (int i = 0; i < n; i++) {
		map = region_attach(fd, NULL, RW);
		ASSERT_NE(MAP_FAILED, map);
		ASSERT_EQ(0, munmap(map, SLOT));
	}
	many = now() - begin;
	note("attach and detach: %.1f us with nothing mapped, %.1f us with 500 mappings",
	     one / n * 1e6, many / n * 1e6);
	EXPECT_EQ(0, region_info(fd).attachments);
}

/* How long a change takes, by how many are attached. */
TEST_F(scale, changing)
{
	int fd = region_new(self->env.dir, NULL, SLOT), started = 0;
	int rounds = by_scale(20, 200);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, region_map(fd, 0, 64 * psize, RW));
	for (int n = 1; n <= self->processes; n *= 2) {
		uint64_t flushes;
		double begin;

		for (; started < n; started++) {
			long map;

			ASSERT_EQ(0, peer_start(&self->peers[started]));
			map = peer_call(&self->peers[started], do_attach, fd, 0,
					RW);
			ASSERT_EQ(0, map % SLOT);
			ASSERT_EQ(0, peer_call(&self->peers[started], do_fill,
					       map, 64 * psize, 1));
		}
		flushes = region_info(fd).flushes;
		begin = now();
		for (int i = 0; i < rounds; i++) {
			ASSERT_EQ(0, region_protect(fd, 0, psize, PROT_READ));
			ASSERT_EQ(0, region_protect(fd, 0, psize, RW));
		}
		note("%d idle attachers: %.1f us for two changes, %.1f flushes",
		     n, (now() - begin) / rounds * 1e6,
		     (double)(region_info(fd).flushes - flushes) / rounds);
		EXPECT_LE(flushes + n * rounds, region_info(fd).flushes);
	}
}

TEST_HARNESS_MAIN
