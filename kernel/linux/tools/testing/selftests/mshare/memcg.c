// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who pays: the cgroup in which a region was created, whoever touches it, its
 * page tables included; its nearest ancestor that is left, once it is gone. What
 * it cannot pay for is a signal for who touches, at once, though there may be no
 * task in it to kill. (The creator is gone and its cgroup empty: that is the
 * normal case.)
 */
#include "mshare_test.h"

FIXTURE(memcg) {
	struct env env;
	const char *parent;
	const char *cgroup;
	size_t size;
	int fd;
	char *map;
};

static long create_in(long cgroup, long path, long size)
{
	int fd;

	if (cgroup_enter((char *)cgroup))
		return 1;
	fd = open((char *)path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, SLOT))
		return 2;
	return region_map(fd, 0, size, RW) ? 3 : 0;
}

FIXTURE_SETUP(memcg)
{
	char path[64];
	int error;

	self->size = by_scale(8, 32) * MIB;
	ENV_ENTER(&self->env, NULL);
	error = cgroup_new(NULL, &self->parent);
	if (error) {
		env_leave(&self->env);
		SKIP(return, "no memory cgroups: %s", strerror(-error));
	}
	ASSERT_EQ(0, cgroup_new(self->parent, &self->cgroup));
	/* What is over the limit is to be over, not elsewhere. */
	cgroup_set(self->parent, "memory.swap.max", "0");
	cgroup_set(self->cgroup, "memory.swap.max", "0");
	snprintf(path, sizeof(path), "%s/region", self->env.dir);
	ASSERT_EQ(0, in_child(create_in, (long)self->cgroup, (long)path,
			      self->size));
	self->fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->map = region_attach(self->fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, self->map);
}

FIXTURE_TEARDOWN(memcg)
{
	ENV_LEAVE(&self->env);
}

static long long current_of(const char *cgroup)
{
	return cgroup_number(cgroup, "memory.current");
}

/* Processors hold charges in advance, before as after, and uncharge late. */
#define SLACK	(2 * (long)MIB)

static long do_enter(long cgroup, long unused, long unused2)
{
	return cgroup_enter((char *)cgroup);
}

TEST_F(memcg, owner_pays)
{
	long long before = current_of(self->cgroup), after;
	const char *mine;
	struct peer peer;

	/* Those who touch are in a cgroup of their own, to see what is theirs. */
	ASSERT_EQ(0, cgroup_new(NULL, &mine));
	ASSERT_EQ(0, peer_start(&peer));
	ASSERT_EQ(0, peer_call(&peer, do_enter, (long)mine, 0, 0));
	ASSERT_EQ(0, peer_call(&peer, do_fill, (long)self->map, self->size, 1));
	after = current_of(self->cgroup);
	EXPECT_LE(before + (long)self->size, after + SLACK);
	EXPECT_GE(before + (long)self->size + SLACK, after);
	EXPECT_LE(self->size, cgroup_stat(self->cgroup, "memory.stat", "shmem"));
	/* A table for each 2 MiB. */
	EXPECT_LE(self->size / 512,
		  cgroup_stat(self->cgroup, "memory.stat", "pagetables"));
	EXPECT_GE(SLACK, current_of(mine));
	EXPECT_EQ(0, cgroup_stat(mine, "memory.stat", "shmem"));
	/* The toucher goes: that changes nothing. */
	ASSERT_EQ(0, peer_stop(&peer));
	EXPECT_LE(before + (long)self->size, current_of(self->cgroup) + SLACK);
	/* And it is given back. */
	ASSERT_EQ(0, region_unmap(self->fd, 0, self->size));
	EXPECT_GE(before + SLACK, current_of(self->cgroup));
	EXPECT_EQ(0, cgroup_stat(self->cgroup, "memory.stat", "shmem"));
}

/* By whom of the kernel's ways in it is touched does not matter. */
TEST_F(memcg, owner_pays_for_what_the_kernel_touches)
{
	long long before = current_of(self->cgroup);
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	size_t part = self->size / 4;

	EXPECT_EQ(part, read(zero, self->map, part));
	EXPECT_EQ(0, madvise(self->map + part, part, MADV_POPULATE_WRITE));
	EXPECT_EQ(0, region_advise(self->fd, 2 * part, part,
				   MADV_POPULATE_WRITE));
	EXPECT_EQ(0, region_map_flags(self->fd, SLOT / 2, part, RW, MAP_SHARED |
				      MAP_FIXED | MAP_ANONYMOUS | MAP_POPULATE,
				      -1, 0));
	EXPECT_LE(before + 4 * (long)part, current_of(self->cgroup) + SLACK);
	EXPECT_EQ(4 * part, region_info(self->fd).resident);
}

TEST_F(memcg, cgroup_goes)
{
	size_t half = self->size / 2;
	long long before;

	ASSERT_EQ(0, current_of(self->cgroup) < 0);
	fill_pages(self->map, half, 1);
	ASSERT_EQ(0, cgroup_remove(self->cgroup));
	/* The next one up pays for the rest, and has the first half, too. */
	EXPECT_EQ(0, check_pages(self->map, half, 1));
	before = current_of(self->parent);
	fill_pages(self->map + half, half, 2);
	EXPECT_LE(before + (long)half, current_of(self->parent) + SLACK);
	EXPECT_EQ(0, check_pages(self->map + half, half, 2));
	/* That one, as well. */
	ASSERT_EQ(0, cgroup_remove(self->parent));
	ASSERT_EQ(0, region_map(self->fd, SLOT / 2, half, RW));
	fill_pages(self->map + SLOT / 2, half, 3);
	EXPECT_EQ(0, check_pages(self->map, half, 1));
	EXPECT_EQ(0, check_pages(self->map + SLOT / 2, half, 3));
	EXPECT_EQ(0, region_unmap(self->fd, 0, SLOT));
	EXPECT_EQ(0, region_info(self->fd).resident);
}

/*
 * Write one page after the other from *reached on until that is SIGBUS, and still
 * is after what processors held in advance has been given back, which takes a
 * worker's time. Returns the last signal.
 */
static int write_to_the_limit(char *map, size_t size, size_t *reached)
{
	int sig = 0, times = 0;

	while (*reached < size && times < 10) {
		sig = probe_write(map + *reached, mix(1, *reached));
		if (sig) {
			times++;
			usleep(10000);
		} else {
			*reached += psize;
		}
	}
	return sig;
}

/* No task in it: nobody to kill, nobody to wait for. */
TEST_F(memcg, limit_of_an_empty_cgroup)
{
	size_t limit = self->size / 2, reached = 0;
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	struct peer peer;
	ssize_t n;

	ASSERT_EQ(0, peer_start(&peer));
	ASSERT_EQ(0, cgroup_set(self->cgroup, "memory.max", "%zu", limit));
	EXPECT_EQ(SIGBUS, write_to_the_limit(self->map, self->size, &reached));
	EXPECT_GE(limit, reached);
	EXPECT_LE(limit / 2, reached);
	note("SIGBUS after %zu of %zu KiB", reached / KIB, limit / KIB);
	/* The same for all, each time, and for the kernel it is an error. */
	EXPECT_EQ(SIGBUS, probe_write(self->map + reached, 1));
	EXPECT_EQ(SIG(SIGBUS), peer_call(&peer, do_write,
					 (long)self->map + reached, 1, 0));
	n = read(zero, self->map + reached, psize);
	EXPECT_TRUE(n < 0 && (errno == EFAULT || errno == ENOMEM)) {
		TH_LOG("read: %zd, %s", n, strerror(errno));
	}
	EXPECT_LT(0, cgroup_stat(self->cgroup, "memory.events", "max"));
	/* Nothing was lost, nobody killed, and what is there can be used. */
	EXPECT_EQ(0, cgroup_stat(self->cgroup, "memory.events", "oom_kill"));
	EXPECT_EQ(0, check_pages(self->map, reached, 1));
	EXPECT_EQ(0, peer_call(&peer, do_check, (long)self->map, reached, 1));
	/* Room is made: it goes on. */
	EXPECT_EQ(0, region_advise(self->fd, 0, limit / 2, MADV_REMOVE));
	EXPECT_EQ(0, probe_write(self->map + reached, 5));
	ASSERT_EQ(0, cgroup_set(self->cgroup, "memory.max", "max"));
	fill_pages(self->map, self->size, 2);
	EXPECT_EQ(0, check_pages(self->map, self->size, 2));
}

/* The limit of an ancestor, and the cgroup itself is gone. */
TEST_F(memcg, limit_of_what_is_left)
{
	size_t limit = self->size / 2, reached = 0;

	ASSERT_EQ(0, cgroup_set(self->parent, "memory.max", "%zu", limit));
	ASSERT_EQ(0, cgroup_remove(self->cgroup));
	EXPECT_EQ(SIGBUS, write_to_the_limit(self->map, self->size, &reached));
	EXPECT_GE(limit, reached);
	EXPECT_EQ(SIGBUS, probe_write(self->map + self->size - psize, 1));
	EXPECT_EQ(0, cgroup_stat(self->parent, "memory.events", "oom_kill"));
}

static long hog(long cgroup, long size, long fd)
{
	char *memory, byte = 1;

	if (cgroup_enter((char *)cgroup))
		return 1;
	memory = mmap(NULL, size, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return 2;
	madvise(memory, size, MADV_NOHUGEPAGE);
	memset(memory, 1, size);
	if (write(fd, &byte, 1) != 1)
		return 3;
	for (;;)
		pause();
}

/* Tasks that are in it may be killed for it; who touches is not one of them. */
TEST_F(memcg, limit_with_tasks)
{
	size_t limit = self->size / 2, reached = 0;
	int sig = 0, pipes[2], status = 0;
	pid_t pid;
	char byte;

	ASSERT_EQ(0, pipe(pipes));
	pid = fork_mortal();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* It is to be the one, not the test. */
		write_file("/proc/self/oom_score_adj", "1000");
		_exit(hog((long)self->cgroup, limit / 2, pipes[1]));
	}
	ASSERT_EQ(1, read(pipes[0], &byte, 1));
	ASSERT_EQ(0, cgroup_set(self->cgroup, "memory.max", "%zu", limit));
	for (; reached < self->size && !sig; reached += psize)
		sig = probe_write(self->map + reached, mix(1, reached));
	/* A stranger to that cgroup: nobody in it dies of what he touches. */
	EXPECT_EQ(SIGBUS, sig);
	EXPECT_GE(limit, reached);
	note("SIGBUS after %zu of %zu KiB", reached / KIB, limit / KIB);
	EXPECT_EQ(0, cgroup_stat(self->cgroup, "memory.events", "oom_kill"));
	EXPECT_LT(0, cgroup_stat(self->cgroup, "memory.events", "oom"));
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	EXPECT_LT(0, cgroup_stat(self->cgroup, "memory.events", "max"));
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, check_pages(self->map, reached - 2 * psize, 1));
}

static long touch_inside(long cgroup, long addr, long size)
{
	if (cgroup_enter((char *)cgroup))
		return 1;
	write_file("/proc/self/oom_score_adj", "1000");
	fill_pages((void *)addr, size, 1);
	return 0;
}

/* And if the toucher is in it, it may be the one, or get the signal. */
TEST_F(memcg, limit_with_the_toucher)
{
	long result;

	ASSERT_EQ(0, cgroup_set(self->cgroup, "memory.max", "%zu",
				self->size / 2));
	for (int i = 0; i < 3; i++) {
		result = in_child(touch_inside, (long)self->cgroup,
				  (long)self->map, self->size);
		/* In a full cgroup, what he needs for himself is as short. */
		EXPECT_TRUE(result == SIG(SIGBUS) || result == SIG(SIGKILL)) {
			TH_LOG("%ld", result);
		}
	}
	EXPECT_EQ(1, region_info(self->fd).attachments);
	/* An attacher that was killed for memory has taken nothing along. */
	EXPECT_EQ(mix(1, 0), peek(self->map));
}

/*
 * Killed for memory while it is attached read-only: what is torn down early, to
 * get memory quickly, is not what others have.
 */
static long starve(long cgroup, long fd, long size)
{
	char *map = region_attach(reopen(fd, O_RDONLY), NULL, PROT_READ);
	char *memory;

	if (map == MAP_FAILED || cgroup_enter((char *)cgroup))
		return 1;
	do_touch((long)map, size, 0);
	write_file("/proc/self/oom_score_adj", "1000");
	memory = mmap(NULL, 1024 * MIB, RW, MAP_PRIVATE | MAP_ANONYMOUS |
		      MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return 2;
	for (size_t i = 0; i < 1024 * MIB; i += psize)
		poke(memory + i, 1);
	return 3;
}

TEST_F(memcg, reader_killed_for_memory)
{
	const char *poor;

	fill_pages(self->map, self->size, 1);
	ASSERT_EQ(0, cgroup_new(NULL, &poor));
	cgroup_set(poor, "memory.swap.max", "0");
	ASSERT_EQ(0, cgroup_set(poor, "memory.max", "%lu", 16 * MIB));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(SIG(SIGKILL), in_child(starve, (long)poor, self->fd,
						 self->size));
		/* Without a fault: the tables are as they were. */
		EXPECT_EQ(0, do_touch((long)self->map, self->size, 0));
		EXPECT_EQ(0, check_pages(self->map, self->size, 1));
	}
	EXPECT_LE(3, cgroup_stat(poor, "memory.events", "oom_kill"));
}

TEST_HARNESS_MAIN
