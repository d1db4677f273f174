/* SPDX-License-Identifier: MIT */
/*
 * Rule 3: several processes change the region at the same time, each its own
 * part; each finds its own change in force when its call returns, and the
 * others' parts are never disturbed.
 */
#include "map_util.h"

#define WORKERS 4
#define ROUNDS 40

static int worker(int fd, char *w, int me)
{
	size_t P = page(), off = (size_t)me * 16 * P;
	char *at_ = w + off;
	uint64_t v;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t mark = (uint64_t)me << 32 | (uint64_t)i;

		if (mshare_map(fd, off, 3 * P, RW, 0, -1, 0) || load(at_ + P, &v) || v != 0)
			return 2;
		if (store(at_ + P, mark) || mshare_protect(fd, off + P, P, PROT_READ))
			return 3;
		if (store(at_ + P, 0) != SIGSEGV || load(at_ + P, &v) || v != mark)
			return 4;
		if (mshare_unmap(fd, off, 3 * P) || load(at_ + P, &v) != SIGSEGV)
			return 5;
	}
	/* The last one stays, with its number. */
	if (mshare_map(fd, off, P, RW, 0, -1, 0) || store(at_, (uint64_t)me + 1))
		return 6;
	return 0;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	int fd = region_new(unique("region"), GIB);
	char *w = mshare_attach(fd, NULL, RW, 0);
	pid_t pid[WORKERS];
	bool marks = true;

	must(w != MAP_FAILED);
	for (int i = 0; i < WORKERS; i++) {
		pid[i] = fork();
		must(pid[i] >= 0);
		if (pid[i] == 0)
			_exit(worker(fd, w, i));
	}
	for (int i = 0; i < WORKERS; i++) {
		int status;

		must(waitpid(pid[i], &status, 0) == pid[i]);
		if (!check(exited(status, 0),
			   "rule 3: modifier %d found each of its changes in force", i))
			note("  wait status %#x", status);
	}
	for (int i = 0; i < WORKERS; i++)
		marks = marks && value_at(w + (size_t)i * 16 * P) == (uint64_t)i + 1;
	check(marks, "rule 3: the last change of each is in force here");
	check(MAPPED_IS(fd, {0, P, RW, 0}, {16 * P, P, RW, 0}, {32 * P, P, RW, 0},
			{48 * P, P, RW, 0}),
	      "rule 3: and just these are mapped");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
