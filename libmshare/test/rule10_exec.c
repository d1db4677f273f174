/* SPDX-License-Identifier: MIT */
/* Rule 10: exec drops attachments; vfork and posix_spawn disturb nothing. */
#include "test.h"

#include <spawn.h>

extern char **environ;

/* Started by the others with an address: is anything mapped there? Any of our descriptors? */
static int look(const char *address)
{
	char *addr = (char *)strtoull(address, NULL, 0);
	unsigned char vec;

	if (mincore(addr, page(), &vec) == 0 || errno != ENOMEM)
		return 10;
	if (load(addr, NULL) != SIGSEGV)
		return 11;
	for (int fd = 3; fd < 64; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			return 12;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--look"))
		return look(argv[2]);
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB), status;
	char address[32];

	must(mshare_map(fd, 0, 2 * P, RW, 0, -1, 0) == 0);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED && store(w, 1) == 0);
	snprintf(address, sizeof(address), "%p", (void *)w);

	/* What the runner leaves open is not ours to judge. */
	for (int i = 3; i < 64; i++)
		if (fcntl(i, F_GETFD) >= 0)
			fcntl(i, F_SETFD, FD_CLOEXEC);

	struct peer child = peer_fork();

	check(p_load(&child, w, NULL) == 0 && info_of(fd).attachments == 2, "rule 10: a child");
	p_exec(&child);
	check_eq(info_of(fd).attachments, 1, "rule 10: exec drops its attachment");
	check(p_load(&child, w, NULL) == SIGSEGV, "rule 10: nothing is there in the new program");
	check(mshare_protect(fd, 0, P, PROT_READ) == 0 && mshare_protect(fd, 0, P, RW) == 0,
	      "rule 10: changes do not wait for it");
	int there = p_open(&child, name, O_RDWR, 0);

	check(p_attach(&child, there, NULL, RW, 0) == w, "rule 10: the new program attaches anew");
	p_exec(&child);
	check_eq(info_of(fd).attachments, 1, "rule 10: an exec of who attached itself");
	check(p_end(&child), "the child ended well");

	char *const args[] = {tap.self, "--look", address, NULL};
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		execv(tap.self, args);
		_exit(127);
	}
	must(waitpid(pid, &status, 0) == pid);
	if (!check(exited(status, 0),
		   "rule 10: fork and exec: no memory and no descriptor is left"))
		note("  status %#x", status);

	must(posix_spawn(&pid, tap.self, NULL, NULL, args, environ) == 0);
	must(waitpid(pid, &status, 0) == pid);
	if (!check(exited(status, 0), "rule 10: posix_spawn: no memory and no descriptor is left"))
		note("  status %#x", status);
	check_eq(info_of(fd).attachments, 1, "rule 10: posix_spawn leaves the parent's");

#if !TEST_TSAN
	/* A child of vfork runs in the parent's memory until it execs. */
	volatile bool seen = false;

	pid = vfork();
	if (pid == 0) {
		seen = *(volatile uint64_t *)w == 1;
		execv(tap.self, args);
		_exit(127);
	}
	must(pid > 0 && waitpid(pid, &status, 0) == pid);
	check(seen && exited(status, 0), "rule 10: vfork and exec");
#else
	skip("rule 10: vfork and exec", "ThreadSanitizer turns vfork into fork");
#endif
	check(store(w, 2) == 0 && value_at(w) == 2,
	      "rule 10: the parent's attachment is as it was");
	must(mshare_map(fd, 4 * P, P, RW, 0, -1, 0) == 0);
	check(load(w + 4 * P, NULL) == 0, "rule 10: and sees changes");

	/* An exec that fails changes nothing. */
	child = peer_fork();
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		execl("/nonexistent", "nothing", (char *)NULL);
		_exit(load(w + 4 * P, NULL));
	}
	must(waitpid(pid, &status, 0) == pid);
	check(exited(status, 0), "rule 10: an exec that fails keeps the attachment");
	check(p_end(&child), "the child ended well");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
