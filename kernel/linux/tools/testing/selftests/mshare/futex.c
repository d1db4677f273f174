// SPDX-License-Identifier: GPL-2.0-only
/*
 * Locks in a region, between attachers at the same address and at others:
 * futexes, mutexes of pthreads, robust ones and such with priority inheritance;
 * an owner that is killed; a page that goes while somebody waits.
 */
#include <linux/futex.h>

#include "mshare_test.h"

FIXTURE(futex) {
	struct env env;
	int fd;
	char *map;
	struct peer same, other;
	long there;	/* where the other one is attached */
};

FIXTURE_VARIANT(futex) {
	enum backing_kind kind;
};

FIXTURE_VARIANT_ADD(futex, memory) {
	.kind = ANONYMOUS,
};

FIXTURE_VARIANT_ADD(futex, memfd) {
	.kind = MEMFD,
};

FIXTURE_SETUP(futex)
{
	int file;

	ENV_ENTER(&self->env, NULL);
	BACKING_NEW(file, &self->env, variant->kind, psize);
	self->fd = region_new(self->env.dir, "region", SLOT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, backing_map(self->fd, 0, psize, RW, file, 0));
	self->map = region_attach(self->fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, self->map);
	ASSERT_EQ(0, peer_start(&self->same));
	ASSERT_EQ(0, peer_start(&self->other));
	ASSERT_EQ(0, peer_call(&self->other, do_detach, (long)self->map, SLOT,
			       0));
	self->there = peer_call(&self->other, do_attach, self->fd,
				(long)self->map - 4 * SLOT, RW);
	ASSERT_EQ((long)self->map - 4 * SLOT, self->there);
}

FIXTURE_TEARDOWN(futex)
{
	ENV_LEAVE(&self->env);
}

static long futex(void *addr, int op, int value, const struct timespec *timeout,
		  int value3)
{
	long result = syscall(__NR_futex, addr, op, value, timeout, NULL, value3);

	return result < 0 ? -errno : result;
}

/* For hangs only. */
static const struct timespec long_time = { .tv_sec = 600 };

static long do_wait(long addr, long value, long unused)
{
	return futex((void *)addr, FUTEX_WAIT, value, &long_time, 0);
}

static long do_wake(long addr, long n, long unused)
{
	long woken = 0;

	/* They say that they will wait before they do: until all are woken. */
	for (int i = 0; i < 60000 && woken < n; i++) {
		long result = futex((void *)addr, FUTEX_WAKE, n - woken, NULL, 0);

		if (result < 0)
			return result;
		woken += result;
		if (woken < n)
			usleep(1000);
	}
	return woken;
}

TEST_F(futex, wait_and_wake)
{
	*(int *)self->map = 5;
	EXPECT_EQ(-EAGAIN, peer_call(&self->other, do_wait, self->there, 4, 0));
	peer_send(&self->same, do_wait, (long)self->map, 5, 0);
	peer_send(&self->other, do_wait, self->there, 5, 0);
	EXPECT_EQ(2, do_wake((long)self->map, 2, 0));
	EXPECT_EQ(0, peer_wait(&self->same));
	EXPECT_EQ(0, peer_wait(&self->other));
	/* And the other way round. */
	peer_send(&self->same, do_wait, (long)self->map, 5, 0);
	EXPECT_EQ(1, peer_call(&self->other, do_wake, self->there, 1, 0));
	EXPECT_EQ(0, peer_wait(&self->same));
	/* Nobody is left, and other words are other words. */
	EXPECT_EQ(0, futex(self->map, FUTEX_WAKE, 100, NULL, 0));
}

/* The lock is not of the mapping but of the memory. */
TEST_F(futex, two_attachments_of_one_process)
{
	char *second = region_attach(self->fd, NULL, RW);

	ASSERT_NE(MAP_FAILED, second);
	*(int *)self->map = 5;
	peer_send(&self->same, do_wait, (long)self->map, 5, 0);
	EXPECT_EQ(1, do_wake((long)second, 1, 0));
	EXPECT_EQ(0, peer_wait(&self->same));
}

/* Private ones are private: who uses them across processes is wrong. */
TEST_F(futex, private)
{
	struct timespec soon = { .tv_nsec = 1000000 };

	*(int *)self->map = 5;
	EXPECT_EQ(-ETIMEDOUT, futex(self->map, FUTEX_WAIT_PRIVATE, 5, &soon, 0));
	EXPECT_EQ(0, futex(self->map, FUTEX_WAKE_PRIVATE, 1, NULL, 0));
}

static long do_cmp_requeue(long from, long to, long value)
{
	long result = syscall(__NR_futex, from, FUTEX_CMP_REQUEUE, 0, 2, to,
			      value);

	return result < 0 ? -errno : result;
}

TEST_F(futex, requeue)
{
	int *word = (int *)self->map;
	long moved = 0;

	word[0] = 5;
	word[16] = 6;
	peer_send(&self->same, do_wait, (long)&word[0], 5, 0);
	peer_send(&self->other, do_wait, self->there, 5, 0);
	/* Both are moved to the second word, the one that comes late, too. */
	while (moved < 2) {
		long result = do_cmp_requeue((long)&word[0], (long)&word[16], 5);

		ASSERT_LE(0, result);
		moved += result;
		usleep(1000);
	}
	EXPECT_EQ(0, futex(&word[0], FUTEX_WAKE, 2, NULL, 0));
	EXPECT_EQ(2, futex(&word[16], FUTEX_WAKE, 2, NULL, 0));
	EXPECT_EQ(0, peer_wait(&self->same));
	EXPECT_EQ(0, peer_wait(&self->other));
}

/* What was waited for is taken away: woken or not, it must end. */
TEST_F(futex, unmapped_under_a_waiter)
{
	struct timespec second = { .tv_sec = 1 };

	*(int *)self->map = 5;
	peer_send(&self->other, do_wait, self->there, 5, 0);
	usleep(10000);
	ASSERT_EQ(0, region_unmap(self->fd, 0, psize));
	EXPECT_EQ(-EFAULT, futex(self->map, FUTEX_WAIT, 5, &second, 0));
	EXPECT_EQ(-EFAULT, futex(self->map, FUTEX_WAKE, 1, NULL, 0));
	/* It waits for memory that is gone: to be killed, like any process. */
	peer_kill(&self->other);
	EXPECT_EQ(2, region_info(self->fd).attachments);
}

/* ---- mutexes ------------------------------------------------------------- */

struct locks {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	long counter;
	long turn;
};

static int locks_init(struct locks *locks, bool robust, bool pi)
{
	pthread_mutexattr_t attr;
	pthread_condattr_t cattr;

	memset(locks, 0, sizeof(*locks));
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	if (robust)
		pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	if (pi)
		pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
	pthread_condattr_init(&cattr);
	pthread_condattr_setpshared(&cattr, PTHREAD_PROCESS_SHARED);
	return pthread_mutex_init(&locks->mutex, &attr) ?:
	       pthread_cond_init(&locks->cond, &cattr);
}

static long do_count(long addr, long n, long unused)
{
	struct locks *locks = (void *)addr;

	while (n--) {
		long value;

		if (pthread_mutex_lock(&locks->mutex))
			return -1;
		value = *(volatile long *)&locks->counter;
		if (n % 16 == 0)
			sched_yield();
		*(volatile long *)&locks->counter = value + 1;
		if (pthread_mutex_unlock(&locks->mutex))
			return -1;
	}
	return 0;
}

static void count(struct __test_metadata *_metadata,
		  struct _test_data_futex *self)
{
	struct locks *locks = (void *)self->map;
	long n = by_scale(200, 5000);

	peer_send(&self->same, do_count, (long)self->map, n, 0);
	peer_send(&self->other, do_count, self->there, n, 0);
	EXPECT_EQ(0, do_count((long)self->map, n, 0));
	EXPECT_EQ(0, peer_wait(&self->same));
	EXPECT_EQ(0, peer_wait(&self->other));
	EXPECT_EQ(3 * n, locks->counter);
}

TEST_F(futex, mutex)
{
	ASSERT_EQ(0, locks_init((void *)self->map, false, false));
	count(_metadata, self);
}

TEST_F(futex, mutex_robust)
{
	ASSERT_EQ(0, locks_init((void *)self->map, true, false));
	count(_metadata, self);
}

TEST_F(futex, mutex_with_priority_inheritance)
{
	ASSERT_EQ(0, locks_init((void *)self->map, false, true));
	count(_metadata, self);
}

static long do_turns(long addr, long me, long n)
{
	struct locks *locks = (void *)addr;

	while (n--) {
		if (pthread_mutex_lock(&locks->mutex))
			return -1;
		while (locks->turn % 3 != me)
			pthread_cond_wait(&locks->cond, &locks->mutex);
		locks->turn++;
		pthread_cond_broadcast(&locks->cond);
		pthread_mutex_unlock(&locks->mutex);
	}
	return 0;
}

TEST_F(futex, condition)
{
	struct locks *locks = (void *)self->map;
	long n = by_scale(50, 1000);

	ASSERT_EQ(0, locks_init(locks, false, false));
	peer_send(&self->same, do_turns, (long)self->map, 1, n);
	peer_send(&self->other, do_turns, self->there, 2, n);
	EXPECT_EQ(0, do_turns((long)self->map, 0, n));
	EXPECT_EQ(0, peer_wait(&self->same));
	EXPECT_EQ(0, peer_wait(&self->other));
	EXPECT_EQ(3 * n, locks->turn);
}

static long do_lock(long addr, long unused, long unused2)
{
	return -pthread_mutex_lock((void *)addr);
}


static long do_recover(long addr, long unused, long unused2)
{
	int error = pthread_mutex_lock((void *)addr);

	if (error != EOWNERDEAD)
		return -error ?: 1;
	pthread_mutex_consistent((void *)addr);
	return -pthread_mutex_unlock((void *)addr);
}

static void owner_killed(struct __test_metadata *_metadata,
			 struct _test_data_futex *self, bool pi)
{
	struct locks *locks = (void *)self->map;

	ASSERT_EQ(0, locks_init(locks, true, pi));
	/* It dies with the lock; one waits at another address. */
	ASSERT_EQ(0, peer_call(&self->same, do_lock, (long)self->map, 0, 0));
	peer_send(&self->other, do_recover, self->there, 0, 0);
	usleep(10000);
	peer_kill(&self->same);
	EXPECT_EQ(0, peer_wait(&self->other));
	EXPECT_EQ(0, pthread_mutex_lock(&locks->mutex));
	EXPECT_EQ(0, pthread_mutex_unlock(&locks->mutex));
	/* Nobody waits; who comes next is told. */
	ASSERT_EQ(0, peer_call(&self->other, do_lock, self->there, 0, 0));
	peer_kill(&self->other);
	EXPECT_EQ(EOWNERDEAD, pthread_mutex_lock(&locks->mutex));
	EXPECT_EQ(0, pthread_mutex_consistent(&locks->mutex));
	EXPECT_EQ(0, pthread_mutex_unlock(&locks->mutex));
}

TEST_F(futex, owner_killed)
{
	owner_killed(_metadata, self, false);
}

TEST_F(futex, owner_killed_with_priority_inheritance)
{
	owner_killed(_metadata, self, true);
}

static long do_exec_true(long unused, long unused2, long unused3)
{
	execl("/bin/true", "true", NULL);
	execlp("true", "true", NULL);
	return -errno;
}

/* exec drops the attachment; its locks go before that. */
TEST_F(futex, owner_execs)
{
	struct locks *locks = (void *)self->map;

	ASSERT_EQ(0, locks_init(locks, true, false));
	ASSERT_EQ(0, peer_call(&self->same, do_lock, (long)self->map, 0, 0));
	peer_send(&self->same, do_exec_true, 0, 0, 0);
	EXPECT_EQ(EOWNERDEAD, pthread_mutex_lock(&locks->mutex));
	EXPECT_EQ(0, pthread_mutex_consistent(&locks->mutex));
	EXPECT_EQ(0, pthread_mutex_unlock(&locks->mutex));
}

/*
 * It detaches while it holds a lock, and dies: a list of locks that leads to
 * where nothing is any more. As with any memory that is unmapped too early,
 * nobody is told, and nothing breaks.
 */
TEST_F(futex, owner_detaches)
{
	struct locks *locks = (void *)self->map;

	ASSERT_EQ(0, locks_init(locks, true, false));
	ASSERT_EQ(0, peer_call(&self->same, do_lock, (long)self->map, 0, 0));
	ASSERT_EQ(0, peer_call(&self->same, do_detach, (long)self->map, SLOT, 0));
	peer_kill(&self->same);
	EXPECT_EQ(EBUSY, pthread_mutex_trylock(&locks->mutex));
	EXPECT_EQ(2, region_info(self->fd).attachments);
}

/* It is killed as often as it takes to be hit with the lock. */
TEST_F(futex, killed_at_random)
{
	struct locks *locks = (void *)self->map;
	long rounds = by_scale(20, 200), dead = 0, i;
	uint64_t seed = getpid();

	note("seed %lu", (long)seed);
	ASSERT_EQ(0, locks_init(locks, true, false));
	for (i = 0; i < rounds || (!dead && i < 50 * rounds); i++) {
		long before = locks->counter;
		struct peer victim;
		int error;

		ASSERT_EQ(0, peer_start(&victim));
		peer_send(&victim, do_count, (long)self->map, LONG_MAX, 0);
		while (*(volatile long *)&locks->counter == before)
			sched_yield();
		usleep(rnd(&seed) % 5000);
		peer_kill(&victim);
		error = pthread_mutex_lock(&locks->mutex);
		if (error == EOWNERDEAD) {
			dead++;
			pthread_mutex_consistent(&locks->mutex);
		} else {
			ASSERT_EQ(0, error);
		}
		ASSERT_EQ(0, pthread_mutex_unlock(&locks->mutex));
	}
	note("%ld of %ld died with the lock", dead, i);
	EXPECT_LT(0, dead);
}

TEST_HARNESS_MAIN
