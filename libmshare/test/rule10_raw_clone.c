/* SPDX-License-Identifier: MIT */
/*
 * Rule 10: a child that no fork handler saw (raw clone, _Fork). On shm it has no
 * window, on msharefs it has it from the kernel. It inherits no lock: when its
 * parent is killed, changes by others go through at once though the child lives on.
 */
#include "map_util.h"
#include "party_util.h"

/* In glibc from 2.34 on. */
extern pid_t _Fork(void) __attribute__((weak));

static const char *name;
static int life[2]; /* the child lives until nobody can write to this */

struct how {
	const char *text;
	bool raw;
};

static UNSANITIZED void alone(const char *w, int answer)
{
	/* Nothing here but what is async-signal-safe: there were other threads. */
	int64_t sig = load(w, NULL);
	char c;

	close(life[1]);
	(void)!send(answer, &sig, sizeof(sig), MSG_NOSIGNAL);
	while (read(life[0], &c, 1) < 0 && errno == EINTR)
		;
	_exit(0);
}

static int parent(void *arg)
{
	const struct how *how = arg;
	int fd = mshare_open(name, O_RDWR, 0);
	char *w = fd < 0 ? MAP_FAILED : mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED);
	must(load(w, NULL) == 0);
	pid_t pid = how->raw ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : _Fork();

	must(pid >= 0);
	if (pid == 0)
		alone(w, party_sock);
	/* The child's answer goes to the parent's parent by itself. */
	party_report(pid);
	/* The parent's own attachment goes on: */
	party_report(load(w + 8 * page(), NULL));
	for (;;)
		pause();
}

static void lives_on(int fd, const struct how *how)
{
	size_t P = page();

	must(pipe2(life, O_CLOEXEC) == 0);
	struct party p = party_start(parent, (void *)(uintptr_t)how);
	int64_t window = on_shm() ? SIGSEGV : 0;
	uint32_t children = on_shm() ? 0 : 1;
	int64_t one = party_await(&p), other = party_await(&p);
	pid_t child = (pid_t)(one == window ? other : one);

	check(one == window || other == window,
	      "%s: the window is %saccessible in the child (%lld, %lld)", how->text,
	      window ? "not " : "", (long long)one, (long long)other);
	check_eq(info_of(fd).attachments, 1 + children, "%s: as mshare_info says", how->text);
	must(mshare_map(fd, 8 * P, P, RW, 0, -1, 0) == 0);
	check(party_next(&p, 0) == 0, "%s: the parent's goes on", how->text);
	party_kill(&p);
	check(kill(child, 0) == 0, "%s: the parent is killed, the child lives", how->text);
	/* Far below what a lock of a living process would take. */
	mshare_set_timeout(2000);
	check(mshare_unmap(fd, 8 * P, P) == 0 && mshare_protect(fd, 0, P, PROT_READ) == 0 &&
		      mshare_protect(fd, 0, P, RW) == 0,
	      "%s: changes by others go through", how->text);
	struct mshare_info i = info_of(fd);

	check(i.attachments == children && i.stragglers == 0, "%s: no lock is left", how->text);
	check(kill(child, 0) == 0, "%s: it still lives", how->text);
	close(life[0]);
	close(life[1]);
	/* Its parent has gone; it ends when the last writer has. */
	for (int tries = 0; tries < 20000 && kill(child, 0) == 0; tries++) {
		waitpid(child, NULL, WNOHANG);
		usleep(1000);
	}
	check(kill(child, 0) != 0, "%s: the child ends", how->text);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	/* Orphans come to us, so that their end can be seen. */
	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	name = unique("region");
	int fd = region_new(name, GIB);

	must(mshare_map(fd, 0, page(), RW, 0, -1, 0) == 0);
	probe_prepare();
	lives_on(fd, &(struct how){"raw clone", true});
	if (_Fork)
		lives_on(fd, &(struct how){"_Fork", false});
	else
		skip("_Fork", "this libc has none");
	return done();
}
