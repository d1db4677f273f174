/* SPDX-License-Identifier: MIT */
/*
 * Cancelling: a thread that is cancelled (pthread_cancel) while it waits in
 * one of the library's calls leaves no lock behind. The calls are no
 * cancellation points: they come to their end first.
 */
#include "map_util.h"
#include "party_util.h"

#include <pthread.h>

static int fd;
static char *w;
static _Atomic int under_way;

static void *change(void *arg)
{
	(void)arg;
	under_way = 1;
	mshare_map(fd, 8 * page(), page(), RW, 0, -1, 0);
	return NULL;
}

static void *many_calls(void *arg)
{
	size_t at = (size_t)arg * page();

	under_way = 1;
	for (;;) {
		struct mshare_mapping list[16];
		struct mshare_info info;
		size_t count = 16;

		mshare_map(fd, at, page(), RW, 0, -1, 0);
		mshare_info(fd, &info, sizeof(info));
		mshare_mappings(fd, list, sizeof(list[0]), &count);
		void *mine = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE);

		if (mine != MAP_FAILED)
			mshare_detach(mine);
		mshare_unmap(fd, at, page());
		pthread_testcancel();
	}
	return NULL;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	const char *name = unique("region");
	pthread_t thread;
	void *result;

	fd = region_new(name, GIB);
	w = mshare_attach(fd, NULL, RW, 0);
	must(w != MAP_FAILED);
	mshare_set_timeout(0);

	struct peer s = peer_exec();
	int there = p_open(&s, name, O_RDWR, 0);

	must(p_attach(&s, there, NULL, RW, 0) == w);
	p_stop(&s);
	under_way = 0;
	must(pthread_create(&thread, NULL, change, NULL) == 0);
	while (load(w + 8 * page(), NULL) != 0)
		usleep(1000);
	must(pthread_cancel(thread) == 0);
	p_continue(&s);
	must(pthread_join(thread, &result) == 0);
	mshare_set_timeout(2000);
	check(mshare_protect(fd, 8 * page(), page(), PROT_READ) == 0,
	      "a modifier thread cancelled while it waits for attachers holds nothing");
	check(mshare_unmap(fd, 8 * page(), page()) == 0, "changes go on");

	/* At whatever point. */
	int fds = 0;

	for (int round = 0; round < (TEST_TSAN || TEST_ASAN ? 20 : 100); round++) {
		under_way = 0;
		must(pthread_create(&thread, NULL, many_calls, (void *)16) == 0);
		while (!under_way)
			sched_yield();
		usleep((useconds_t)(rand() % 2000));
		must(pthread_cancel(thread) == 0);
		must(pthread_join(thread, &result) == 0);
		if (mshare_unmap(fd, 16 * page(), page()) != 0)
			fds++;
	}
	check_eq(fds, 0, "threads cancelled at random: no change failed after any");
	mshare_set_timeout(30000);
	check(settles(fd, 2, 0), "and no attachment was left by them");
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		alarm(60);
		_exit(load(w, NULL) == SIGSEGV && mshare_map(fd, 0, page(), RW, 0, -1, 0) == 0 ? 0
											       : 1);
	}
	int status;

	must(waitpid(pid, &status, 0) == pid);
	check(exited(status, 0), "fork works, and the child changes");
	check(load(w, NULL) == 0, "for all");
	check(p_end(&s) && mshare_detach(w) == 0, "they end");
	return done();
}
