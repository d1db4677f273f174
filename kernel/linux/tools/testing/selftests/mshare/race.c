// SPDX-License-Identifier: GPL-2.0-only
/*
 * All at once, on all processors: faults of all kinds against map, unmap,
 * protect and advice; forks, exits, attaching and detaching against unmapping,
 * which is when page tables may be freed; SIGKILL in the middle of any of it.
 *
 * What must hold is little, and checked throughout: a page that was written
 * shows what was written there or zeroes; memory that nobody changes stays as
 * it is; at the end the region is of one piece and can be emptied. The rest is
 * for the kernel's own checks to say.
 */
#include <linux/falloc.h>

#include "mshare_test.h"

#define WINDOW	(2 * SLOT)
#define SEED	99

/* Counted by many processes. */
struct tally {
	atomic_long accesses;
	atomic_long signals;
	atomic_long wrong;
	atomic_long changes;
	atomic_long refusals;
	atomic_long strange;
	atomic_int stop;
};

FIXTURE(race) {
	struct env env;
	int fd;
	int file;
	char *map;
	/* What is changed: some pages in the first slot, some across to the second. */
	uint64_t start;
	uint64_t size;
	/* What is not. */
	uint64_t quiet;
	struct tally *tally;
	pid_t pids[256];
	int running;
	uint64_t random;
};

FIXTURE_VARIANT(race) {
	enum backing_kind kind;
};

FIXTURE_VARIANT_ADD(race, memory) {
	.kind = ANONYMOUS,
};

FIXTURE_VARIANT_ADD(race, memfd) {
	.kind = MEMFD,
};

FIXTURE_VARIANT_ADD(race, ext4) {
	.kind = EXT4,
};

#define QUIET_SIZE	(16 * psize)

FIXTURE_SETUP(race)
{
	self->size = by_scale(1, 8) * MIB;
	self->start = SLOT - self->size / 2;
	self->quiet = SLOT + self->size;
	self->random = getpid();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	ENV_ENTER(&self->env, NULL);
	BACKING_NEW(self->file, &self->env, variant->kind, self->size);
	self->fd = region_new(self->env.dir, "region", WINDOW);
	ASSERT_LE(0, self->fd);
	self->map = region_attach(self->fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, self->map);
	ASSERT_EQ(0, region_map(self->fd, self->quiet, QUIET_SIZE, RW));
	fill_pages(self->map + self->quiet, QUIET_SIZE, 7);
	self->tally = mmap(NULL, psize, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->tally);
	note("seed %lu", (long)self->random);
}

static void end_all(struct _test_data_race *self)
{
	self->tally->stop = 1;
	for (int i = 0; i < self->running; i++) {
		kill(self->pids[i], SIGKILL);
		waitpid(self->pids[i], NULL, 0);
	}
	self->running = 0;
	/* Their children are ours now, and have been told to die. */
	while (waitpid(-1, NULL, 0) > 0)
		;
}

FIXTURE_TEARDOWN(race)
{
	end_all(self);
	ENV_LEAVE(&self->env);
}

/* Pages of the part that is changed, at random. */
static void random_range(struct _test_data_race *self, uint64_t *random,
			 uint64_t *offset, uint64_t *size)
{
	uint64_t pages = self->size / psize, first, n;

	first = rnd(random) % pages;
	/* Mostly few, now and then a lot. */
	n = 1 + rnd(random) % (rnd(random) % 8 ? 8 : pages);
	if (n > pages - first)
		n = pages - first;
	*offset = self->start + first * psize;
	*size = n * psize;
}

static void change_once(struct _test_data_race *self, uint64_t *random)
{
	static const int advices[] = {
		MADV_DONTNEED, MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ,
		MADV_POPULATE_WRITE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_REMOVE,
		MADV_WILLNEED,
	};
	uint64_t offset, size;
	int error;

	random_range(self, random, &offset, &size);
	switch (rnd(random) % 8) {
	case 0:
	case 1:
	case 2:
		error = backing_map(self->fd, offset, size,
				    rnd(random) % 4 ? RW : PROT_READ, self->file,
				    offset - self->start);
		break;
	case 3:
	case 4:
		error = region_unmap(self->fd, offset, size);
		break;
	case 5:
		error = region_protect(self->fd, offset, size,
				       rnd(random) % 4);
		break;
	case 6:
		error = region_advise(self->fd, offset, size,
				      advices[rnd(random) % ARRAY_SIZE(advices)]);
		break;
	default:
		error = 0;
		if (self->file != -1 && rnd(random) % 4 == 0)
			error = fallocate(self->file, FALLOC_FL_PUNCH_HOLE |
					  FALLOC_FL_KEEP_SIZE,
					  offset - self->start, size) ?
					  -errno : 0;
		break;
	}
	if (!error)
		self->tally->changes++;
	else if (error == -EEXIST || error == -ENOMEM || error == -EINVAL ||
		 error == -EOPNOTSUPP || error == -EFAULT || error == -EAGAIN)
		self->tally->refusals++;
	else
		self->tally->strange++;
}

/* What is written somewhere is a function of where. */
static void access_once(struct _test_data_race *self, char *map,
			uint64_t *random, int *pipes)
{
	uint64_t offset, size, value = 0;
	char *addr;
	int sig = 0;

	random_range(self, random, &offset, &size);
	addr = map + offset;
	switch (rnd(random) % 4) {
	case 0:
		sig = probe_write(addr, mix(SEED, offset));
		break;
	case 1:
		/* By the kernel. */
		if (write(pipes[1], addr, 8) != 8)
			sig = SIGSEGV;
		else if (read(pipes[0], &value, 8) != 8)
			self->tally->strange++;
		break;
	default:
		sig = probe_read(addr, &value);
		break;
	}
	self->tally->accesses++;
	if (sig)
		self->tally->signals++;
	else if (value && value != mix(SEED, offset))
		self->tally->wrong++;
}

static pid_t start(struct _test_data_race *self)
{
	pid_t pid = fork_mortal();

	if (pid > 0)
		self->pids[self->running++] = pid;
	return pid;
}

static void start_accessors(struct __test_metadata *_metadata,
			    struct _test_data_race *self, int n)
{
	for (int i = 0; i < n; i++) {
		pid_t pid = start(self);
		uint64_t random = self->random + i + 1;
		char *map = self->map;
		int pipes[2];

		ASSERT_LE(0, pid);
		if (pid)
			continue;
		pin(i % cpus());
		if (pipe(pipes))
			_exit(1);
		if (i % 2) {
			munmap(map, WINDOW);
			map = region_attach(self->fd, NULL, RW);
			if (map == MAP_FAILED)
				_exit(2);
		}
		while (!self->tally->stop)
			access_once(self, map, &random, pipes);
		_exit(0);
	}
}

static void start_changers(struct __test_metadata *_metadata,
			   struct _test_data_race *self, int n)
{
	for (int i = 0; i < n; i++) {
		uint64_t random = self->random + 1000 + i;
		pid_t pid = start(self);

		ASSERT_LE(0, pid);
		if (pid)
			continue;
		/* Of the two kinds of those who change, one is not attached. */
		if (i % 2)
			munmap(self->map, WINDOW);
		while (!self->tally->stop)
			change_once(self, &random);
		_exit(0);
	}
}

static void let_run(struct _test_data_race *self)
{
	double until = now() + by_scale(2, 15);

	/* And until there is something to judge. */
	while (now() < until ||
	       ((self->tally->accesses < 1000 || self->tally->changes < 100) &&
		now() < until + 300))
		usleep(10000);
}

/* Of one piece, and emptied to nothing. */
static void check_region(struct __test_metadata *_metadata,
			 struct _test_data_race *self)
{
	static struct mshare_mapping_entry entries[16384];
	struct mshare_region_info info;
	uint64_t end = 0, sum = 0;
	long n;

	end_all(self);
	EXPECT_EQ(0, self->tally->wrong);
	EXPECT_EQ(0, self->tally->strange);
	EXPECT_EQ(0, check_pages(self->map + self->quiet, QUIET_SIZE, 7));
	info = region_info(self->fd);
	EXPECT_EQ(1, info.attachments);
	n = region_list(self->fd, 0, entries, ARRAY_SIZE(entries), NULL);
	EXPECT_EQ(info.mappings, n);
	for (long i = 0; i < n; i++) {
		EXPECT_LE(end, entries[i].region_offset);
		end = entries[i].region_offset + entries[i].size;
		sum += entries[i].size;
	}
	EXPECT_EQ(info.mapped, sum);
	EXPECT_EQ(0, region_unmap(self->fd, 0, SLOT + self->size));
	info = region_info(self->fd);
	EXPECT_EQ(QUIET_SIZE, info.mapped);
	EXPECT_EQ(QUIET_SIZE, info.resident);
	/* Still of use. */
	EXPECT_EQ(0, region_map(self->fd, self->start, self->size, RW));
	fill_pages(self->map + self->start, self->size, 5);
	EXPECT_EQ(0, check_pages(self->map + self->start, self->size, 5));
	note("%ld accesses, %ld of them signals; %ld changes, %ld refused",
	     (long)self->tally->accesses, (long)self->tally->signals,
	     (long)self->tally->changes, (long)self->tally->refusals);
}

TEST_F(race, faults_against_changes)
{
	start_accessors(_metadata, self, 2 * cpus());
	start_changers(_metadata, self, 2);
	let_run(self);
	check_region(_metadata, self);
	EXPECT_LT(0, self->tally->accesses);
	EXPECT_LT(0, self->tally->signals);
	EXPECT_LT(self->tally->signals, self->tally->accesses);
	EXPECT_LT(0, self->tally->changes);
}

/* Children by the dozen, each of which touches, and each of which goes. */
TEST_F(race, forks_against_changes)
{
	atomic_long *forks = (void *)((char *)self->tally + 2048);

	for (int i = 0; i < cpus(); i++) {
		uint64_t random = self->random + i + 1;
		pid_t pid = start(self);

		ASSERT_LE(0, pid);
		if (pid)
			continue;
		while (!self->tally->stop) {
			int pipes[2];
			pid_t children[4];

			for (int j = 0; j < 4; j++) {
				rnd(&random);
				children[j] = fork_mortal();
				if (children[j])
					continue;
				if (pipe(pipes))
					_exit(1);
				for (int k = 0; k < 20; k++)
					access_once(self, self->map, &random,
						    pipes);
				/* Half of them leave in order. */
				if (j % 2)
					munmap(self->map, WINDOW);
				_exit(0);
			}
			for (int j = 0; j < 4; j++)
				waitpid(children[j], NULL, 0);
			*forks += 4;
		}
		_exit(0);
	}
	start_changers(_metadata, self, 2);
	let_run(self);
	check_region(_metadata, self);
	note("%ld forks", (long)*forks);
	EXPECT_LT(0, *forks);
}

/*
 * Nobody is attached for moments, again and again: tables of what has been
 * unmapped are freed then, while somebody maps and others come.
 */
TEST_F(race, attaching_against_changes)
{
	atomic_long *times = (void *)((char *)self->tally + 2048);

	ASSERT_EQ(0, munmap(self->map, WINDOW));
	for (int i = 0; i < cpus(); i++) {
		uint64_t random = self->random + i + 1;
		pid_t pid = start(self);
		int pipes[2];

		ASSERT_LE(0, pid);
		if (pid)
			continue;
		pin(i % cpus());
		if (pipe(pipes))
			_exit(1);
		while (!self->tally->stop) {
			char *map = region_attach(self->fd, NULL, RW);

			if (map == MAP_FAILED)
				_exit(2);
			for (int k = 0; k < 5; k++)
				access_once(self, map, &random, pipes);
			munmap(map, WINDOW);
			(*times)++;
			if (rnd(&random) % 8 == 0)
				usleep(rnd(&random) % 2000);
		}
		_exit(0);
	}
	start_changers(_metadata, self, 3);
	/* They have inherited nothing. */
	let_run(self);
	end_all(self);
	self->map = region_attach(self->fd, self->map, RW);
	ASSERT_NE(MAP_FAILED, self->map);
	check_region(_metadata, self);
	note("attached %ld times", (long)*times);
	EXPECT_LT(0, *times);
}

/* Threads of one process, one of which takes the attachment away. */
struct threads {
	struct _test_data_race *self;
	uint64_t random;
};

static void *access_in_thread(void *arg)
{
	struct threads *t = arg;
	int pipes[2];

	if (pipe(pipes))
		return arg;
	while (!t->self->tally->stop)
		access_once(t->self, t->self->map, &t->random, pipes);
	return NULL;
}

TEST_F(race, detaching_under_threads)
{
	struct threads t[8];
	pthread_t threads[8];
	double until = now() + by_scale(2, 10);
	long times = 0;
	void *result;

	start_changers(_metadata, self, 1);
	for (int i = 0; i < 8; i++) {
		t[i] = (struct threads) { self, self->random + i + 1 };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, access_in_thread,
					    &t[i]));
	}
	while (now() < until || times < 20) {
		void *map;

		ASSERT_EQ(0, munmap(self->map, WINDOW));
		usleep(rnd(&self->random) % 500);
		/* In one step, or in the place of itself. */
		map = mmap(self->map, WINDOW, RW, MAP_SHARED | MAP_FIXED,
			   self->fd, 0);
		ASSERT_EQ(self->map, map);
		usleep(rnd(&self->random) % 2000);
		map = mmap(self->map, WINDOW, RW, MAP_SHARED | MAP_FIXED,
			   self->fd, 0);
		ASSERT_EQ(self->map, map);
		times++;
	}
	self->tally->stop = 1;
	for (int i = 0; i < 8; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &result));
		EXPECT_EQ(NULL, result);
	}
	check_region(_metadata, self);
	note("detached %ld times", 2 * times);
	EXPECT_LT(0, self->tally->signals);
}

/* Of everything something, for as long as it lives. */
static void live(struct _test_data_race *self, uint64_t random)
{
	int pipes[2];
	char *map = self->map;

	if (pipe(pipes))
		_exit(1);
	for (;;) {
		switch (rnd(&random) % 8) {
		case 0:
			if (map) {
				munmap(map, WINDOW);
				map = NULL;
			}
			break;
		case 1:
			if (!map)
				map = region_attach(self->fd, NULL, RW);
			if (map == MAP_FAILED)
				_exit(2);
			break;
		case 2:
			if (!fork()) {
				if (map)
					access_once(self, map, &random, pipes);
				_exit(0);
			}
			wait(NULL);
			break;
		case 3:
		case 4:
			change_once(self, &random);
			break;
		default:
			if (map)
				access_once(self, map, &random, pipes);
			break;
		}
	}
}

/* At any instruction, also in the middle of a change. */
TEST_F(race, killed_at_random)
{
	long rounds = by_scale(15, 600);

	start_accessors(_metadata, self, cpus());
	for (long i = 0; i < rounds; i++) {
		pid_t victims[4];

		for (int j = 0; j < 4; j++) {
			rnd(&self->random);
			victims[j] = fork_mortal();
			ASSERT_LE(0, victims[j]);
			if (!victims[j])
				live(self, self->random);
		}
		usleep(rnd(&self->random) % 20000);
		for (int j = 0; j < 4; j++)
			kill(victims[j], SIGKILL);
		for (int j = 0; j < 4; j++)
			ASSERT_EQ(victims[j], waitpid(victims[j], NULL, 0));
		/* No lock is held by the dead. */
		ASSERT_EQ(0, region_unmap(self->fd, self->start, psize));
	}
	check_region(_metadata, self);
	EXPECT_LT(0, self->tally->changes);
	EXPECT_LT(0, self->tally->accesses);
}

/* Regions, too, come and go, while somebody looks at them. */
TEST_F(race, regions_come_and_go)
{
	atomic_long *regions = (void *)((char *)self->tally + 2048);

	for (int i = 0; i < 2 * cpus(); i++) {
		uint64_t random = self->random + i + 1;
		pid_t pid = start(self);
		char path[64];

		ASSERT_LE(0, pid);
		if (pid)
			continue;
		munmap(self->map, WINDOW);
		while (!self->tally->stop) {
			int fd;
			char *map;

			/* A few names for all: they take them from one another. */
			snprintf(path, sizeof(path), "%s/%lu", self->env.dir,
				 (long)(rnd(&random) % 4));
			fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
			if (fd < 0)
				continue;
			if (!ftruncate(fd, SLOT))
				(*regions)++;
			region_map(fd, 0, 16 * psize, RW);
			map = region_attach(fd, NULL, RW);
			if (map != MAP_FAILED) {
				probe_write(map + rnd(&random) % 16 * psize, 1);
				region_unmap(fd, 0, 4 * psize);
			}
			if (rnd(&random) % 2)
				unlink(path);
			close(fd);
			if (map != MAP_FAILED)
				munmap(map, SLOT);
		}
		_exit(0);
	}
	for (double until = now() + by_scale(2, 10); now() < until;)
		usleep(10000);
	check_region(_metadata, self);
	note("%ld regions", (long)*regions);
	EXPECT_LT(0, *regions);
}

TEST_HARNESS_MAIN
