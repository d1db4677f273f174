// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory pressure: a region of four times what its cgroup may have, so that its
 * pages go to swap and come back all the time, under eight processes that write
 * and check every byte. Reclaim puts the flushing of attachers off, for many
 * pages at once: it is counted, and that nobody wrote to a page after it had
 * been read out is what the bytes say.
 */
#include <sys/swap.h>

#include "mshare_test.h"

#define PROCESSES	8	/* at full size */

FIXTURE(reclaim) {
	struct env env;
	const char *cgroup;
	int fd;
	int file;
	char *map;
	size_t size;
	int zram;	/* -1: swap was there already */
	int processes;
	pid_t pids[PROCESSES];
};

FIXTURE_VARIANT(reclaim) {
	enum backing_kind kind;
	bool huge;
};

FIXTURE_VARIANT_ADD(reclaim, memory) {
	.kind = ANONYMOUS,
};

FIXTURE_VARIANT_ADD(reclaim, memfd) {
	.kind = MEMFD,
};

FIXTURE_VARIANT_ADD(reclaim, huge) {
	.kind = ANONYMOUS,
	.huge = true,
};

#define SHMEM_HUGE	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"

/* mkswap(8) may not be there, and a header is two numbers and a word. */
static int swap_on(const char *path, size_t size)
{
	struct {
		char boot[1024];
		uint32_t version, last_page, bad_pages;
		char rest[4096 - 1024 - 12 - 10];
		char magic[10];
	} __attribute__((packed)) head = {
		.version = 1,
		.last_page = size / psize - 1,
	};
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	memcpy(head.magic, "SWAPSPACE2", 10);
	n = write(fd, &head, sizeof(head));
	close(fd);
	if (n != sizeof(head))
		return -EIO;
	return swapon(path, 0) ? -errno : 0;
}

/* A new zram device as swap: its number, -1 if there is swap, or -errno. */
static int zram_on(size_t size)
{
	char path[64], text[32];
	int n, error;

	if (meminfo("SwapFree") * (long)KIB >= (long)size)
		return -1;
	if (read_file("/sys/class/zram-control/hot_add", text, sizeof(text)) <= 0)
		return -ENODEV;
	n = atoi(text);
	snprintf(path, sizeof(path), "/sys/block/zram%d/disksize", n);
	snprintf(text, sizeof(text), "%zu", size);
	error = write_file(path, text);
	if (error)
		return error;
	snprintf(path, sizeof(path), "/dev/zram%d", n);
	/* The node is made in a worker's time. */
	for (int i = 0; i < 1000 && access(path, F_OK); i++)
		usleep(10000);
	error = swap_on(path, size);
	return error ? error : n;
}

static int zram_off(int n)
{
	char path[64], text[32];

	snprintf(path, sizeof(path), "/dev/zram%d", n);
	if (swapoff(path))
		return -errno;
	snprintf(path, sizeof(path), "/sys/block/zram%d/reset", n);
	write_file(path, "1");
	snprintf(text, sizeof(text), "%d", n);
	return write_file("/sys/class/zram-control/hot_remove", text);
}

static long create_in(long cgroup, long path, long size)
{
	int fd;

	if (cgroup_enter((char *)cgroup))
		return 1;
	fd = open((char *)path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd < 0 || ftruncate(fd, SLOT);
}

FIXTURE_SETUP(reclaim)
{
	char path[64];
	int error;

	/*
	 * A quarter of it has to hold what all of them have in flight, with
	 * what is read ahead and the tables.
	 */
	self->size = by_scale(12, 128) * MIB;
	self->processes = by_scale(3, PROCESSES);
	self->zram = -1;
	ENV_ENTER(&self->env, NULL);
	error = cgroup_new(NULL, &self->cgroup);
	if (error) {
		env_leave(&self->env);
		SKIP(return, "no memory cgroups: %s", strerror(-error));
	}
	self->zram = zram_on(2 * self->size + 16 * MIB);
	if (self->zram < -1) {
		error = self->zram;
		env_leave(&self->env);
		SKIP(return, "no swap and no zram for it: %s", strerror(-error));
	}
	snprintf(path, sizeof(path), "%s/region", self->env.dir);
	ASSERT_EQ(0, in_child(create_in, (long)self->cgroup, (long)path, 0));
	self->fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	BACKING_NEW(self->file, &self->env, variant->kind, self->size);
	ASSERT_EQ(0, backing_map(self->fd, 0, self->size, RW, self->file, 0));
	if (variant->huge) {
		write_file(SHMEM_HUGE, "advise");
		region_advise(self->fd, 0, self->size, MADV_HUGEPAGE);
	}
	self->map = region_attach(self->fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, self->map);
}

FIXTURE_TEARDOWN(reclaim)
{
	for (int i = 0; i < PROCESSES; i++) {
		if (self->pids[i] > 0) {
			kill(self->pids[i], SIGKILL);
			waitpid(self->pids[i], NULL, 0);
		}
	}
	if (variant->huge)
		write_file(SHMEM_HUGE, "never");
	ENV_LEAVE(&self->env);
	if (self->zram >= 0)
		EXPECT_EQ(0, zram_off(self->zram));
}

/* All of a page, as a function of whose turn it was. */
static void write_page(uint64_t *page, size_t n, uint64_t round)
{
	for (size_t i = 0; i < psize / 8; i++)
		page[i] = mix(round + 1, n * 512 + i);
}

static long wrong_in_page(const uint64_t *page, size_t n, uint64_t round)
{
	long wrong = 0;

	for (size_t i = 0; i < psize / 8; i++)
		wrong += page[i] != mix(round + 1, n * 512 + i);
	return wrong;
}

struct shared {
	atomic_long wrong;
	atomic_long arrived;
	atomic_long dead;
};

/* All of them are there, or somebody has died and the test with him. */
static void meet(struct shared *shared, int processes, long *phase)
{
	*phase += processes;
	shared->arrived++;
	while (shared->arrived < *phase) {
		if (shared->dead)
			_exit(3);
		usleep(1000);
	}
}

TEST_F(reclaim, every_byte_is_right)
{
	struct shared *shared = mmap(NULL, psize, RW, MAP_SHARED | MAP_ANONYMOUS,
				     -1, 0);
	size_t pages = self->size / psize;
	long rounds = by_scale(1, 4);
	struct mshare_region_info before, after;
	long long out = vmstat("pswpout"), in = vmstat("pswpin");
	size_t limit;
	int status;

	ASSERT_NE(MAP_FAILED, shared);
	/* And what they have themselves, if they are in it. */
	limit = self->size / 4;
	if (self->file != -1)
		limit += self->processes * MIB;
	ASSERT_EQ(0, cgroup_set(self->cgroup, "memory.max", "%zu", limit));
	before = region_info(self->fd);
	for (int p = 0; p < self->processes; p++) {
		long phase = 0;
		char *map = self->map;

		self->pids[p] = fork_mortal();
		ASSERT_LE(0, self->pids[p]);
		if (self->pids[p])
			continue;
		/*
		 * For who writes to a file of memory outside of a region pays
		 * himself, in which case the limit is for them.
		 */
		if (self->file != -1 && cgroup_enter(self->cgroup))
			_exit(1);
		if (p % 2) {
			munmap(map, SLOT);
			map = region_attach(self->fd, NULL, RW);
			if (map == MAP_FAILED)
				_exit(2);
		}
		for (long round = 0; round < rounds; round++) {
			/* Each writes its share, another one each time. */
			for (size_t n = (p + round) % self->processes; n < pages;
			     n += self->processes)
				write_page((void *)(map + n * psize), n, round);
			meet(shared, self->processes, &phase);
			/* And all check all. */
			for (size_t n = 0; n < pages; n++)
				shared->wrong += wrong_in_page((void *)(map +
							n * psize), n, round);
			meet(shared, self->processes, &phase);
		}
		_exit(0);
	}
	for (int p = 0; p < self->processes; p++) {
		pid_t pid = waitpid(-1, &status, 0);

		ASSERT_LT(0, pid);
		for (int i = 0; i < self->processes; i++)
			if (self->pids[i] == pid)
				self->pids[i] = 0;
		EXPECT_EQ(0, status);
		if (status)
			shared->dead = 1;
	}
	after = region_info(self->fd);
	out = vmstat("pswpout") - out;
	in = vmstat("pswpin") - in;
	note("%zu MiB in a cgroup of %zu: %lld pages out, %lld in, %lu put off, %lu flushes",
	     self->size / MIB, limit / MIB, out, in,
	     (long)(after.batched - before.batched),
	     (long)(after.flushes - before.flushes));
	EXPECT_EQ(0, shared->wrong);
	/* It happened: more than half of it at least once. */
	EXPECT_LE(pages / 2, out);
	EXPECT_LE(pages / 2, in);
	EXPECT_LT(0, cgroup_number(self->cgroup, "memory.swap.current"));
	EXPECT_LT(0, after.batched - before.batched);
	/* Not a flush of all of them for each page. */
	EXPECT_GT(out * (self->processes + 1) / 4, after.flushes - before.flushes);
	/* And it can be given back from there. */
	ASSERT_EQ(0, region_unmap(self->fd, 0, self->size));
	EXPECT_EQ(0, region_info(self->fd).resident);
	if (self->file == -1)
		EXPECT_GE(1 * (long)MIB, cgroup_number(self->cgroup,
						      "memory.swap.current"));
}

/*
 * Asked for, from outside, while they write. A page that is written to again and
 * again is no cold one, and reclaim on a kernel that checks everything is slower
 * than any writer: they nap for longer each time that it got nothing.
 */
TEST_F(reclaim, asked_for)
{
	struct {
		int stop;
		int nap;	/* us, after every 16 pages */
	} volatile *all = mmap(NULL, psize, RW, MAP_SHARED | MAP_ANONYMOUS, -1,
			       0);
	size_t pages = self->size / psize;
	struct mshare_region_info before, after;
	long long out = vmstat("pswpout");
	double until;
	int status;

	/* A huge page that somebody always writes to is never a cold one. */
	if (self->file != -1 || variant->huge)
		return;
	ASSERT_NE(MAP_FAILED, all);
	fill_pages(self->map, self->size, 1);
	before = region_info(self->fd);
	for (int p = 0; p < 4; p++) {
		self->pids[p] = fork_mortal();
		ASSERT_LE(0, self->pids[p]);
		if (self->pids[p])
			continue;
		/* Counts in a word of its own in each page: none must be lost. */
		for (uint64_t count = 1; !all->stop; count++) {
			for (size_t n = 0; n < pages && !all->stop; n++) {
				uint64_t *word = (void *)(self->map + n * psize);

				if (word[p + 1] != count - 1)
					_exit(1);
				word[p + 1] = count;
				if (n % 16 == 0 && all->nap)
					usleep(all->nap);
			}
		}
		_exit(0);
	}
	until = now() + by_scale(3, 20);
	while (now() < until ||
	       (vmstat("pswpout") - out < (long)pages / 4 && now() < until + 120)) {
		long long gone = vmstat("pswpout");

		cgroup_set(self->cgroup, "memory.reclaim", "%zu",
			   self->size / 8);
		if (vmstat("pswpout") - gone < 16 && all->nap < 100000)
			all->nap = all->nap ? 2 * all->nap : 100;
	}
	all->stop = 1;
	for (int p = 0; p < 4; p++) {
		ASSERT_EQ(self->pids[p], waitpid(self->pids[p], &status, 0));
		self->pids[p] = 0;
		EXPECT_EQ(0, status);
	}
	after = region_info(self->fd);
	out = vmstat("pswpout") - out;
	note("%lld pages out, %lu put off, %lu flushes, naps of %d us", out,
	     (long)(after.batched - before.batched),
	     (long)(after.flushes - before.flushes), all->nap);
	EXPECT_LE(pages / 4, out);
	EXPECT_LT(0, after.batched - before.batched);
	EXPECT_EQ(0, check_pages(self->map, self->size, 1));
}

/* An attacher's advice is refused; the region's is taken. */
TEST_F(reclaim, paged_out_by_advice)
{
	struct peer peer;
	long long out = vmstat("pswpout");

	if (self->file != -1)
		return;
	ASSERT_EQ(0, peer_start(&peer));
	fill_pages(self->map, self->size, 1);
	ASSERT_EQ(0, peer_call(&peer, do_check, (long)self->map, self->size, 1));
	ASSERT_EQ(0, region_advise(self->fd, 0, self->size, MADV_PAGEOUT));
	out = vmstat("pswpout") - out;
	note("%lld of %zu pages out", out, self->size / psize);
	EXPECT_LT(0, out);
	EXPECT_GT(self->size, region_info(self->fd).resident);
	EXPECT_EQ(0, peer_call(&peer, do_check, (long)self->map, self->size, 1));
	EXPECT_EQ(0, check_pages(self->map, self->size, 1));
}

TEST_HARNESS_MAIN
