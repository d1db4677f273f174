// SPDX-License-Identifier: GPL-2.0-only
/*
 * How many page faults there are, and how many page tables. Counts, not times:
 * what one process has touched is there for all others, without a fault, and
 * without a table of their own.
 */
#include "mshare_test.h"

#define PROCESSES	8
#define TOGETHER	64	/* of first_touch_together, at full size */

FIXTURE(faults) {
	struct env env;
	int fd;
	int file;
	char *map;
	size_t size;
};

FIXTURE_VARIANT(faults) {
	enum backing_kind kind;
};

FIXTURE_VARIANT_ADD(faults, memory) {
	.kind = ANONYMOUS,
};

FIXTURE_VARIANT_ADD(faults, memfd) {
	.kind = MEMFD,
};

FIXTURE_SETUP(faults)
{
	self->size = by_scale(2, 64) * MIB;
	ENV_ENTER(&self->env, NULL);
	BACKING_NEW(self->file, &self->env, variant->kind, self->size);
	self->fd = region_new(self->env.dir, "region", SLOT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, backing_map(self->fd, 0, self->size, RW, self->file, 0));
	/* Tables of small pages are what is counted here. */
	region_advise(self->fd, 0, self->size, MADV_NOHUGEPAGE);
	self->map = region_attach(self->fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, self->map);
}

FIXTURE_TEARDOWN(faults)
{
	ENV_LEAVE(&self->env);
}

/* Faults that writing to every page takes. */
static long do_dirty(long addr, long size, long unused)
{
	long before = minflt();

	for (long i = 0; i < size; i += psize)
		*(volatile char *)(addr + i) = 1;
	return minflt() - before;
}

static long do_status(long key, long unused, long unused2)
{
	return status_of(getpid(), (char *)key);
}

TEST_F(faults, second_one_has_none)
{
	struct peer peers[PROCESSES];
	long first, pages = self->size / psize;

	/* Started first: what they do not have, they have not inherited. */
	for (int i = 0; i < PROCESSES; i++)
		ASSERT_EQ(0, peer_start(&peers[i]));
	first = do_dirty((long)self->map, self->size, 0);
	EXPECT_LE(pages, first);
	for (int i = 0; i < PROCESSES; i++) {
		/* Its own stack and data have been touched; then the link. */
		peer_call(&peers[i], do_touch, (long)self->map, 0, 0);
		peer_call(&peers[i], do_dirty, (long)self->map, 0, 0);
		EXPECT_GE(2, peer_call(&peers[i], i % 2 ? do_touch : do_dirty,
				       (long)self->map, self->size, 0));
		EXPECT_EQ(0, peer_call(&peers[i], do_dirty, (long)self->map,
				       self->size, 0));
	}
	note("%ld pages: %ld faults for the first, 2 at most for others", pages,
	     first);
}

TEST_F(faults, link_and_page_are_one_fault)
{
	struct peer peer;
	long before;

	ASSERT_EQ(0, peer_start(&peer));
	peer_call(&peer, do_dirty, (long)self->map, 0, 0);
	/* Nobody has touched the slot; it is linked and filled at once. */
	EXPECT_EQ(0, region_info(self->fd).links);
	before = peer_call(&peer, do_dirty, (long)self->map, psize, 0);
	EXPECT_LE(1, before);
	EXPECT_GE(2, before);
	EXPECT_EQ(1, region_info(self->fd).links);
	EXPECT_EQ(1, peer_call(&peer, do_dirty, (long)self->map + psize, psize,
			       0));
}

TEST_F(faults, tables)
{
	struct peer peers[PROCESSES];
	long idle, before, after, total, tables;

	ASSERT_EQ(0, peer_start(&peers[0]));
	idle = peer_call(&peers[0], do_status, (long)"VmPTE", 0, 0);
	do_dirty((long)self->map, self->size, 0);
	tables = region_info(self->fd).page_table_bytes;
	EXPECT_LE(self->size / 512, tables);
	EXPECT_GE(self->size / 512 + 8 * psize, tables);
	total = meminfo("PageTables");
	for (int i = 0; i < PROCESSES; i++) {
		if (i)
			ASSERT_EQ(0, peer_start(&peers[i]));
		before = peer_call(&peers[i], do_status, (long)"VmPTE", 0, 0);
		peer_call(&peers[i], do_dirty, (long)self->map, self->size, 0);
		after = peer_call(&peers[i], do_status, (long)"VmPTE", 0, 0);
		/* kB; a PUD table of its own is all that it may need. */
		EXPECT_GE(before + 16, after);
	}
	EXPECT_EQ(tables, region_info(self->fd).page_table_bytes);
	EXPECT_EQ(PROCESSES, region_info(self->fd).links - 1);
	note("%ld kB of page tables for %zu MiB in the region, %ld kB more in all for %d processes (%ld kB each without)",
	     tables / 1024, self->size / MIB,
	     (long)meminfo("PageTables") - total, PROCESSES, idle);
}

/* ---- all at once -------------------------------------------------------- */

struct together {
	atomic_int ready, go;
	atomic_long faults;
};

static void dirty_together(struct together *t, char *addr, size_t size)
{
	long before;

	/* What is needed besides has been touched. */
	do_dirty((long)addr, 0, 0);
	t->ready++;
	while (!t->go)
		sched_yield();
	before = minflt();
	do_dirty((long)addr, size, 0);
	t->faults += minflt() - before;
}

struct dirty {
	pthread_t thread;
	struct together *together;
	char *addr;
	size_t size;
	int pipe;
};

static void *dirty_in_thread(void *arg)
{
	struct dirty *d = arg;
	struct rusage before, after;

	d->together->ready++;
	while (!d->together->go)
		sched_yield();
	getrusage(RUSAGE_THREAD, &before);
	do_dirty((long)d->addr, d->size, 0);
	getrusage(RUSAGE_THREAD, &after);
	d->together->faults += after.ru_minflt - before.ru_minflt;
	return NULL;
}

static long threads_together(struct together *t, char *addr, size_t size, int n)
{
	struct dirty dirty[TOGETHER];

	memset(t, 0, sizeof(*t));
	for (int i = 0; i < n; i++) {
		dirty[i] = (struct dirty) { .together = t, .addr = addr,
					    .size = size };
		if (pthread_create(&dirty[i].thread, NULL, dirty_in_thread,
				   &dirty[i]))
			return -1;
	}
	while (t->ready < n)
		sched_yield();
	t->go = 1;
	for (int i = 0; i < n; i++)
		pthread_join(dirty[i].thread, NULL);
	return t->faults;
}

static long processes_together(struct together *t, char *addr, size_t size,
			       int n)
{
	int left = n;

	memset(t, 0, sizeof(*t));
	for (int i = 0; i < n; i++) {
		if (!fork_mortal()) {
			dirty_together(t, addr, size);
			_exit(0);
		}
	}
	while (t->ready < n)
		sched_yield();
	t->go = 1;
	while (left-- && wait(NULL) > 0)
		;
	return t->faults;
}

/*
 * Processes that share tables race as threads do, who share them, too: each
 * page costs a fault, and those who come at the same moment one each. Without
 * sharing it is one for each process and page, whatever the moment. How often
 * they meet is chance, and on processors that somebody else wants, too, a lot of
 * it: rounds of one of each in turn, until there were enough.
 */
TEST_F(faults, first_touch_together)
{
	/* A link each, and chance. */
#define MOST(faults, rounds) ((faults) + (faults) / 4 + n * (rounds))
	struct together *t = mmap(NULL, psize, RW, MAP_SHARED | MAP_ANONYMOUS,
				  -1, 0);
	long pages = self->size / psize, threads = 0, processes = 0, apart;
	int n = by_scale(8, TOGETHER), rounds = 0;
	char *memory;

	ASSERT_NE(MAP_FAILED, t);
	while (rounds < 3 || (rounds < 20 && processes > MOST(threads, rounds))) {
		rounds++;
		memory = mmap(NULL, self->size, RW, MAP_SHARED | MAP_ANONYMOUS,
			      -1, 0);
		ASSERT_NE(MAP_FAILED, memory);
		madvise(memory, self->size, MADV_NOHUGEPAGE);
		threads += threads_together(t, memory, self->size, n);
		munmap(memory, self->size);

		processes += processes_together(t, self->map, self->size, n);
		ASSERT_EQ(0, region_unmap(self->fd, 0, self->size));
		if (self->file >= 0) {
			ASSERT_EQ(0, ftruncate(self->file, 0));
			ASSERT_EQ(0, ftruncate(self->file, self->size));
		}
		ASSERT_EQ(0, backing_map(self->fd, 0, self->size, RW,
					 self->file, 0));
		region_advise(self->fd, 0, self->size, MADV_NOHUGEPAGE);
	}
	EXPECT_GE(MOST(threads, rounds), processes);
	threads /= rounds;
	processes /= rounds;

	memory = mmap(NULL, self->size, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, memory);
	madvise(memory, self->size, MADV_NOHUGEPAGE);
	apart = processes_together(t, memory, self->size, n);
	munmap(memory, self->size);

	note("%ld pages touched by %d at once, %d times: %ld faults of processes that share tables, %ld of threads, %ld of processes that do not",
	     pages, n, rounds, processes, threads, apart);
	EXPECT_LE(pages, processes);
	EXPECT_LE(pages, threads);
	/* The control is one. */
	EXPECT_LE(n * pages, apart);
	EXPECT_GT(apart / 2, processes);
}

/* What was dropped from the tables is found again, by one for all. */
TEST_F(faults, after_dontneed)
{
	struct peer peer;

	ASSERT_EQ(0, peer_start(&peer));
	do_dirty((long)self->map, self->size, 0);
	peer_call(&peer, do_dirty, (long)self->map, self->size, 0);
	ASSERT_EQ(0, region_advise(self->fd, 0, self->size, MADV_DONTNEED));
	EXPECT_LT(0, peer_call(&peer, do_dirty, (long)self->map, self->size, 0));
	EXPECT_EQ(0, do_dirty((long)self->map, self->size, 0));
}

/* The first touch by the kernel on behalf of somebody is as good. */
TEST_F(faults, touched_by_the_kernel)
{
	struct peer peer;
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	ASSERT_EQ(0, peer_start(&peer));
	peer_call(&peer, do_dirty, (long)self->map, 0, 0);
	ASSERT_EQ(self->size, read(zero, self->map, self->size));
	EXPECT_GE(2, peer_call(&peer, do_dirty, (long)self->map, self->size, 0));
}

TEST_HARNESS_MAIN
