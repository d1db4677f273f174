/* SPDX-License-Identifier: MIT */
/*
 * Rule 13: atomics are exact across processes, also while the region around
 * them is changed.
 */
#include "test.h"

#define WORKERS 4
#define ROUNDS 50000

struct cells {
	_Atomic uint64_t add, exchanged, start;
	_Atomic uint32_t bits;
	_Atomic int stop;
};

static int worker(struct cells *c, int me)
{
	while (!c->start)
		sched_yield();
	for (uint64_t i = 0; i < ROUNDS; i++) {
		c->add++;
		uint64_t old = c->exchanged;

		while (!__atomic_compare_exchange_n((uint64_t *)&c->exchanged, &old, old + 3, false,
						    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			;
		c->bits ^= 1u << me;
	}
	return 0;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	int fd = region_new(unique("region"), GIB), status;
	char *w = mshare_attach(fd, NULL, RW, 0);
	pid_t pid[WORKERS];

	must(w != MAP_FAILED && mshare_map(fd, P, P, RW, 0, -1, 0) == 0);
	struct cells *c = (struct cells *)(w + P);

	for (int i = 0; i < WORKERS; i++) {
		pid[i] = fork();
		must(pid[i] >= 0);
		if (pid[i] == 0)
			_exit(worker(c, i));
	}
	c->start = 1;
	/* Change what lies around the page while they count. */
	int changes = 0, running = WORKERS, bad = 0;

	while (running) {
		bad += mshare_map(fd, 0, P, RW, 0, -1, 0) != 0;
		bad += mshare_map(fd, 2 * P, 2 * P, RW, 0, -1, 0) != 0;
		bad += mshare_protect(fd, 2 * P, P, PROT_READ) != 0;
		bad += mshare_unmap(fd, 0, P) != 0;
		bad += mshare_unmap(fd, 2 * P, 2 * P) != 0;
		changes += 5;
		for (int i = 0; i < WORKERS; i++)
			if (pid[i] && waitpid(pid[i], &status, WNOHANG) == pid[i]) {
				check(exited(status, 0), "rule 13: worker %d", i);
				pid[i] = 0;
				running--;
			}
	}
	check(bad == 0, "rule 13: %d changes around the cells meanwhile", changes);
	check_eq(c->add, WORKERS * ROUNDS, "rule 13: fetch-and-add is exact");
	check_eq(c->exchanged, 3 * WORKERS * ROUNDS, "rule 13: compare-and-exchange is exact");
	check_eq(c->bits, 0, "rule 13: exclusive-or is exact");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
