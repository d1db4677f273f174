/* SPDX-License-Identifier: MIT */
/*
 * Signals during changes, waits and attachments. No call ever
 * fails with EINTR: not for a handler without SA_RESTART, nor for SIGSTOP and
 * SIGCONT, which interrupt system calls of any thread whatever it blocks.
 */
#include "map_util.h"
#include "party_util.h"

#include <sys/time.h>

static volatile sig_atomic_t ticks;

static void tick(int sig)
{
	(void)sig;
	ticks++;
}

static void timer(long us)
{
	struct itimerval it = {{0, us}, {0, us}};

	must(setitimer(ITIMER_REAL, &it, NULL) == 0);
}

static int stop_and_continue(void *arg)
{
	pid_t pid = *(pid_t *)arg;

	for (;;) {
		if (kill(pid, SIGSTOP) != 0)
			return 0;
		usleep(500);
		kill(pid, SIGCONT);
		usleep(3000);
	}
}

/* Big enough for a signal to come in while it allocates. */
#define BIG (128 * MIB)

static int calls(int fd, const char *name, int rounds)
{
	size_t P = page();
	int failed = 0;

#define EXPECT(call)                                                                               \
	do {                                                                                       \
		errno = 0;                                                                         \
		if ((long)(call) == -1) {                                                          \
			note(#call ": errno %d, %s", errno, mshare_errmsg());                      \
			failed++;                                                                  \
		}                                                                                  \
	} while (0)
	for (int i = 0; i < rounds; i++) {
		struct mshare_mapping list[64];
		struct mshare_info info;
		size_t count = 64;

		EXPECT(mshare_map(fd, 0, 16 * P, RW, 0, -1, 0));
		EXPECT(mshare_protect(fd, P, 2 * P, PROT_READ));
		EXPECT(mshare_info(fd, &info, sizeof(info)));
		EXPECT(mshare_mappings(fd, list, sizeof(list[0]), &count));
		char *other = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE);

		EXPECT(other);
		if (other != MAP_FAILED)
			EXPECT(mshare_detach(other));
		EXPECT(mshare_unmap(fd, 0, 16 * P));
		int again = mshare_open(name, O_RDWR, 0);

		EXPECT(again);
		if (again >= 0)
			close(again);
	}
	EXPECT(mshare_map(fd, 256 * MIB, BIG, RW, 0, -1, 0));
	EXPECT(mshare_unmap(fd, 256 * MIB, BIG));
	EXPECT(mshare_map(fd, 256 * MIB, BIG, RW, MSHARE_MAP_NORESERVE, -1, 0));
	EXPECT(mshare_advise(fd, 256 * MIB, BIG, MADV_POPULATE_WRITE));
	EXPECT(mshare_unmap(fd, 256 * MIB, BIG));
	return failed;
}

static int in_peer(void *arg)
{
	const char *name = arg;
	int fd = mshare_open(name, O_RDWR, 0);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(fd >= 0 && w != MAP_FAILED);
	mshare_set_timeout(0);
	probe_prepare();
	party_report(0);
	return calls(fd, name, 50) != 0;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	struct sigaction sa;
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	/* Before there is an attachment to inherit. */
	struct party p = party_start(in_peer, (void *)(uintptr_t)name);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED && party_await(&p) == 0);
	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = tick;
	must(sigaction(SIGALRM, &sa, NULL) == 0);
	timer(1000);
	check_eq(calls(fd, name, 50), 0, "SIGALRM every ms: no call fails");
	/* A wait of some length, in which the handler runs; where nobody is waited for, none. */
	struct peer s = peer_exec();
	int there = p_open(&s, name, O_RDWR, 0);

	must(p_attach(&s, there, NULL, RW, 0) == w);
	timer(0);
	p_stop(&s);
	timer(1000);
	/* Long enough for ten ticks on a machine that has other things to do. */
	mshare_set_timeout(2000);
	sig_atomic_t before = ticks;

	if (shares_tables()) {
		check(mshare_map(fd, 0, page(), RW, 0, -1, 0) == 0,
		      "a change amid signals waits for no stopped attacher");
	} else {
		check_error(mshare_map(fd, 0, page(), RW, 0, -1, 0), ETIMEDOUT,
			    "a wait full of signals ends when the limit is reached");
		check(ticks - before > 10, "handlers ran during the wait (%d times)",
		      (int)(ticks - before));
	}
	timer(0);
	p_continue(&s);
	mshare_set_timeout(30000);
	check(mshare_unmap(fd, 0, page()) == 0, "continued: changes go on");
	check(p_end(&s), "the peer ends");
	must(settles(fd, 2, 0));

	struct party stopper = party_start(stop_and_continue, &p.pid);

	mshare_set_timeout(0);
	party_go(&p, 0);
	for (int i = 0; i < 20; i++)
		must(mshare_map(fd, (size_t)(600 + i) * MIB, page(), RW, 0, -1, 0) == 0);
	check(exited(party_end(&p), 0), "SIGSTOP and SIGCONT all the while: no call fails");
	party_kill(&stopper);
	check(settles(fd, 1, 0), "nobody is left behind");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
