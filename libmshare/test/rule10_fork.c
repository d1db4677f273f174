/* SPDX-License-Identifier: MIT */
/* Rule 10: fork inherits attachments; the child sees later changes like any attacher. */
#include "test.h"

#define REGIONS 3

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	int fd[REGIONS];
	char *w[REGIONS];
	bool good = true;

	for (int i = 0; i < REGIONS; i++) {
		fd[i] = region_new(i == 2 ? NULL : unique(i ? "b" : "a"), GIB);
		must(mshare_map(fd[i], 0, 4 * P, RW, 0, -1, 0) == 0);
		w[i] = mshare_attach(fd[i], NULL, RW, 0);
		must(w[i] != MAP_FAILED && store(w[i], (uint64_t)(10 + i)) == 0);
	}
	/* The first is attached twice. */
	char *second = mshare_attach(fd[0], NULL, RW, MSHARE_ATTACH_ANYWHERE);

	must(second != MAP_FAILED);
	check_eq(info_of(fd[0]).attachments, 2, "rule 10: before the fork");

	struct peer child = peer_fork();
	uint64_t v = 0;

	for (int i = 0; i < REGIONS; i++)
		good = good && p_load(&child, w[i], &v) == 0 && v == (uint64_t)(10 + i);
	check(good, "rule 10: the child has all three attachments, at their addresses");
	check(p_load(&child, second, &v) == 0 && v == 10, "rule 10: and the second view of one");
	check(info_of(fd[0]).attachments == 4 && info_of(fd[1]).attachments == 2 &&
		      info_of(fd[2]).attachments == 2,
	      "rule 10: they count as its own");

	/* Shared, not copied. */
	check(store(w[1], 21) == 0 && p_load(&child, w[1], &v) == 0 && v == 21,
	      "rule 10: the child sees the parent's stores");
	check(p_store(&child, w[1], 22) == 0 && value_at(w[1]) == 22, "rule 10: and the reverse");

	/* Later changes. */
	for (int i = 0; i < REGIONS; i++) {
		check(mshare_map(fd[i], 8 * P, P, RW, 0, -1, 0) == 0 &&
			      p_store(&child, w[i] + 8 * P, 1) == 0,
		      "rule 10: a later map reaches the child (%d)", i);
		check(mshare_protect(fd[i], 0, P, PROT_READ) == 0 &&
			      p_store(&child, w[i], 1) == SIGSEGV,
		      "rule 10: a later protect (%d)", i);
		check(mshare_unmap(fd[i], P, P) == 0 && p_load(&child, w[i] + P, NULL) == SIGSEGV,
		      "rule 10: a later unmap (%d)", i);
	}
	check(p_load(&child, second + P, NULL) == SIGSEGV &&
		      p_store(&child, second, 1) == SIGSEGV &&
		      p_load(&child, second + 8 * P, NULL) == 0,
	      "rule 10: they reach the second view too");

	/* The child changes: inherited descriptors work. */
	check(p_map(&child, fd[1], 16 * P, P, RW, 0) == 0 && store(w[1] + 16 * P, 1) == 0,
	      "rule 10: the child's changes reach the parent");

	/* Grandchildren, with the child at work and after it has gone. */
	struct peer grand = p_fork(&child);

	check(p_load(&grand, w[1] + 16 * P, &v) == 0 && v == 1, "rule 10: a grandchild inherits");
	check(mshare_map(fd[1], 17 * P, P, RW, 0, -1, 0) == 0 &&
		      p_load(&grand, w[1] + 17 * P, NULL) == 0 &&
		      p_load(&child, w[1] + 17 * P, NULL) == 0,
	      "rule 10: and sees later changes");

	/* A detach is the one's who makes it. */
	check(p_detach(&child, w[1]) == 0, "rule 10: the child detaches one");
	check(p_load(&child, w[1], NULL) == SIGSEGV && load(w[1], NULL) == 0 &&
		      p_load(&grand, w[1], NULL) == 0 && p_load(&child, w[2], NULL) == 0,
	      "rule 10: the parent's, the grandchild's and its others stay");
	check(mshare_detach(w[2]) == 0 && p_load(&child, w[2], NULL) == 0,
	      "rule 10: the parent detaches one, the child has it still");
	check(mshare_protect(fd[2], 0, P, RW) == 0 && p_store(&child, w[2], 1) == 0,
	      "rule 10: and sees changes through it");
	check(p_end(&child), "rule 10: the child ends");
	check(mshare_map(fd[1], 18 * P, P, RW, 0, -1, 0) == 0 &&
		      p_load(&grand, w[1] + 18 * P, NULL) == 0 && p_load(&grand, w[0], NULL) == 0 &&
		      p_load(&grand, w[2], NULL) == 0,
	      "rule 10: the grandchild goes on");
	check(p_end(&grand), "rule 10: the grandchild ends");
	check(info_of(fd[0]).attachments == 2 && info_of(fd[1]).attachments == 1 &&
		      info_of(fd[2]).attachments == 0,
	      "rule 10: all of theirs are gone");

	/* A child that exits with exit(), as programs do. */
	pid_t pid = fork();
	int status;

	must(pid >= 0);
	if (pid == 0) {
		tap.pid = 0;
		/* _exit: exit() would be this program's, atexit and all. */
		_exit(load(w[0], NULL) == 0 && mshare_detach(w[0]) == 0 &&
				      mshare_attach(fd[0], NULL, RW, 0) == w[0]
			      ? 0
			      : 1);
	}
	must(waitpid(pid, &status, 0) == pid);
	check(exited(status, 0), "rule 10: a child detaches and attaches anew");
	check(mshare_detach(w[0]) == 0 && mshare_detach(second) == 0 && mshare_detach(w[1]) == 0,
	      "detach");
	return done();
}
