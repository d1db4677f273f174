/* SPDX-License-Identifier: MIT */
/*
 * Rule 13: process-shared pthread objects: a robust mutex whose owner dies, a
 * condition variable, a counter that never loses an increment; at whatever
 * addresses.
 */
#include "test.h"

#include <pthread.h>

#define ROUNDS 4000
#define WORKERS 3

struct shared {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	uint64_t plain, turn;
	_Atomic uint64_t atomic;
};

static const char *name;
static char *addresses[WORKERS];

static struct shared *view(int i)
{
	int fd = mshare_open(name, O_RDWR, 0);
	struct shared *s = mshare_attach(fd, addresses[i], RW, 0);

	must(s != MAP_FAILED);
	return s;
}

static int dies_with_it(void *arg)
{
	struct shared *s = view((int)(uintptr_t)arg);

	if (pthread_mutex_lock(&s->mutex))
		return 2;
	s->plain = 1000;
	kill(getpid(), SIGKILL);
	return 3;
}

static int increments(int i)
{
	struct shared *s = view(i);

	for (int n = 0; n < ROUNDS; n++) {
		if (pthread_mutex_lock(&s->mutex))
			return 2;
		s->plain++;
		if (pthread_mutex_unlock(&s->mutex))
			return 3;
		s->atomic++;
	}
	return 0;
}

/* Take turns: worker i runs when turn % WORKERS is i. */
static int takes_turns(int i)
{
	struct shared *s = view(i);
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += 50;
	for (int n = 0; n < 100; n++) {
		if (pthread_mutex_lock(&s->mutex))
			return 2;
		while (s->turn % WORKERS != (uint64_t)i)
			if (pthread_cond_timedwait(&s->cond, &s->mutex, &ts))
				return 3;
		s->turn++;
		pthread_cond_broadcast(&s->cond);
		pthread_mutex_unlock(&s->mutex);
	}
	return 0;
}

static bool run(int (*fn)(int))
{
	pid_t pid[WORKERS];
	bool good = true;
	int status;

	for (int i = 0; i < WORKERS; i++) {
		pid[i] = fork();
		must(pid[i] >= 0);
		if (pid[i] == 0)
			_exit(fn(i));
	}
	for (int i = 0; i < WORKERS; i++) {
		must(waitpid(pid[i], &status, 0) == pid[i]);
		if (!exited(status, 0)) {
			note("worker %d: wait status %#x", i, status);
			good = false;
		}
	}
	return good;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	pthread_mutexattr_t ma;
	pthread_condattr_t ca;

	name = unique("region");
	int fd = region_new(name, GIB), status;

	must(mshare_map(fd, 0, page(), RW, 0, -1, 0) == 0);
	for (int i = 0; i < WORKERS; i++)
		/* The base, and two addresses that are free in most processes. */
		addresses[i] = (char *)(uintptr_t)info_of(i ? region_new(NULL, GIB) : fd).base;
	struct shared *s = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_NOFORK);

	must(s != MAP_FAILED);
	pthread_mutexattr_init(&ma);
	pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&ma, PTHREAD_MUTEX_ROBUST);
	must(pthread_mutex_init(&s->mutex, &ma) == 0);
	pthread_condattr_init(&ca);
	pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
	must(pthread_cond_init(&s->cond, &ca) == 0);

	for (int i = 0; i < WORKERS; i++) {
		status = in_child(dies_with_it, (void *)(uintptr_t)i);
		must(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		check_eq(pthread_mutex_lock(&s->mutex), EOWNERDEAD,
			 "rule 13: the owner died with a robust mutex, attached at %p: EOWNERDEAD",
			 (void *)addresses[i]);
		check_eq(s->plain, 1000, "rule 13: what it wrote is there");
		check(pthread_mutex_consistent(&s->mutex) == 0 &&
			      pthread_mutex_unlock(&s->mutex) == 0,
		      "rule 13: made consistent");
		s->plain = 0;
		check(pthread_mutex_lock(&s->mutex) == 0 && pthread_mutex_unlock(&s->mutex) == 0,
		      "rule 13: and usable");
	}
	check(run(increments), "rule 13: %d processes at three addresses contend for it", WORKERS);
	check_eq(s->plain, WORKERS * ROUNDS, "rule 13: no increment under the mutex is lost");
	check_eq(s->atomic, WORKERS * ROUNDS, "rule 13: no atomic increment is lost");
	check(run(takes_turns), "rule 13: a process-shared condition variable hands on the turn");
	check_eq(s->turn, WORKERS * 100, "rule 13: every turn was taken once");
	check(mshare_detach(s) == 0, "detach");
	return done();
}
