/* SPDX-License-Identifier: MIT */
/*
 * Rule 10: if a child cannot take part its window is inaccessible, never
 * stale; the parent and the others are not held up.
 */
#include "test.h"

static size_t P;

/* Either an attacher like any other, or none at all. */
static void whole_or_nothing(struct peer *child, int fd, char *w, const char *what)
{
	uint64_t v = 0;
	int sig = p_load(child, w, &v);

	if (sig == SIGSEGV) {
		struct mshare_info i;

		note("%s: the child has no part", what);
		check(p_load(child, w + P, NULL) == SIGSEGV, "rule 10: %s: all is inaccessible",
		      what);
		check(mshare_protect(fd, 0, P, RW) == 0 && p_load(child, w, NULL) == SIGSEGV,
		      "rule 10: %s: a change is not held up, and the window stays inaccessible",
		      what);
		if (p_info(child, fd, &i) == 0)
			check(i.attachment_errno != 0, "rule 10: %s: and it can be asked why (%s)",
			      what, strerror(i.attachment_errno));
		return;
	}
	check(sig == 0 && v == 77, "rule 10: %s: the child has the contents", what);
	check(mshare_map(fd, 8 * P, P, RW, 0, -1, 0) == 0 && p_load(child, w + 8 * P, NULL) == 0,
	      "rule 10: %s: a later map reaches it", what);
	check(mshare_unmap(fd, 8 * P, P) == 0 && p_load(child, w + 8 * P, NULL) == SIGSEGV,
	      "rule 10: %s: and a later unmap", what);
}

/*
 * In a process that has used up its descriptors: a fork, and what the child has
 * of an attachment. A line to the child was made before.
 */
static int no_descriptors(void *arg)
{
	int fd = (int)(uintptr_t)arg, status;
	struct line ready = line_new(), changed = line_new();
	char *w = (char *)(uintptr_t)info_of(fd).base;
	struct rlimit rl = {64, 64};

	if (load(w, NULL) || setrlimit(RLIMIT_NOFILE, &rl))
		return 2;
	while (dup(fd) >= 0)
		;
	pid_t pid = fork();

	if (pid < 0)
		return 3;
	if (pid == 0) {
		uint64_t v = 0;
		int before = load(w, &v);

		if (before == 0 && v != 77)
			_exit(10);
		line_ring(ready);
		line_wait(changed);
		/* Unmapped meanwhile: it must not be there, whatever there was before. */
		if (load(w + P, NULL) != SIGSEGV)
			_exit(11);
		if (load(w + 30 * P, NULL) != before)
			_exit(12);
		_exit(0);
	}
	line_wait(ready);
	/* One descriptor, for the change itself. */
	for (int i = 40; i < 50; i++)
		close(i);
	if (mshare_map(fd, 30 * P, P, RW, 0, -1, 0) || mshare_unmap(fd, P, P))
		return 4;
	if (load(w + 30 * P, NULL) || load(w + P, NULL) != SIGSEGV)
		return 5;
	line_ring(changed);
	if (waitpid(pid, &status, 0) != pid)
		return 6;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 7;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	if (geteuid() != 0)
		skip_all("needs root: it becomes another user");
	P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB);

	must(mshare_map(fd, 0, 2 * P, RW, 0, -1, 0) == 0);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED && store(w, 77) == 0);

	/* A process that may no longer open the region forks. */
	struct peer p = peer_exec();
	int there = p_open(&p, name, O_RDWR, 0);

	must(p_attach(&p, there, NULL, RW, 0) == w);
	must(p_become(&p, STRANGER, STRANGER) == 0);
	check_peer_error(p_open(&p, name, O_RDWR, 0), EACCES, "the rights are lost");
	check(p_load(&p, w, NULL) == 0, "rule 10: its own attachment stays");
	struct peer child = p_fork(&p);

	whole_or_nothing(&child, fd, w, "after setuid");
	check(p_load(&p, w, NULL) == 0, "rule 10: the parent's is as it was");
	must(mshare_map(fd, 12 * P, P, RW, 0, -1, 0) == 0);
	check(p_load(&p, w + 12 * P, NULL) == 0, "rule 10: and sees changes");
	check(p_end(&child), "rule 10: the child ends");
	check(p_end(&p), "rule 10: the parent ends");

	/* No descriptor can be had: the child's own cannot be opened. */
	int status = in_child(no_descriptors, (void *)(uintptr_t)fd);

	check(exited(status, 0),
	      "rule 10: a child without a free descriptor is whole or has no part "
	      "(%d)",
	      WEXITSTATUS(status));
	check_eq(info_of(fd).attachments, 1, "rule 10: no attachment is left over");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
