/* SPDX-License-Identifier: MIT */
/* Bad input: no /proc. What can work works; what cannot is a clear error. */
#include "mount_util.h"

#include "map_util.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region"), *call = unique("call");

	/* A child that has been exec'd, as long as that works everywhere. */
	struct peer p = peer_exec();

	private_mounts();
	must(mount("mshare-test", "/proc", "tmpfs", MS_RDONLY, "size=4k") == 0);
	must(access("/proc/self", F_OK) != 0);

	int fd = mshare_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);

	check(fd >= 0, "open");
	check(mshare_reserve(fd, NULL, GIB) == 0, "reserve");
	check(mshare_map(fd, 0, 4 * P, RW, 0, -1, 0) == 0, "map");
	char *w = mshare_attach(fd, NULL, RW, 0);

	check(w != MAP_FAILED && (uintptr_t)w == info_of(fd).base && store(w, 1) == 0, "attach");
	check(mshare_protect(fd, P, P, PROT_READ) == 0 && store(w + P, 1) == SIGSEGV, "protect");
	check(mshare_unmap(fd, 2 * P, P) == 0 && load(w + 2 * P, NULL) == SIGSEGV, "unmap");
	check(mshare_advise(fd, 0, P, MADV_REMOVE) == 0 && value_at(w) == 0, "advise");
	check(MAPPED_IS(fd, {0, P, RW, 0}, {P, P, PROT_READ, 0}, {3 * P, P, RW, 0}), "mappings");
	check(info_of(fd).attachments == 1, "info");
	check_error(mshare_attach(fd, NULL, RW, 0), EADDRINUSE, "rule 4: nothing is replaced");

	/* A peer that has /proc, and a child that has not. */
	int there = p_open(&p, name, O_RDWR, 0);

	check(p_attach(&p, there, NULL, RW, 0) == w && p_store(&p, w, 7) == 0 && value_at(w) == 7,
	      "rule 3: shared with a process that has /proc");
	struct peer child = peer_fork();

	check(p_load(&child, w, NULL) == 0, "rule 10: fork");
	check(mshare_map(fd, 8 * P, P, RW, 0, -1, 0) == 0 && p_load(&child, w + 8 * P, NULL) == 0 &&
		      p_load(&p, w + 8 * P, NULL) == 0,
	      "rule 3: a change from here reaches both");
	check(p_unmap(&p, there, 8 * P, P) == 0 && load(w + 8 * P, NULL) == SIGSEGV &&
		      p_load(&child, w + 8 * P, NULL) == SIGSEGV,
	      "rule 3: and one from there");
	check(p_map(&child, fd, 12 * P, P, RW, 0) == 0 && load(w + 12 * P, NULL) == 0,
	      "rule 3: and one from the child");
	check(p_end(&child), "the child ended well");

	int ro = mshare_open(name, O_RDONLY, 0);
	char *v = mshare_attach(ro, NULL, PROT_READ, MSHARE_ATTACH_ANYWHERE);

	check(v != MAP_FAILED && store(v, 1) == SIGSEGV && value_at(v) == 7, "rule 6: read-only");
	check(mshare_protect(fd, 0, P, PROT_READ) == 0 && mshare_protect(fd, 0, P, RW) == 0 &&
		      store(v, 1) == SIGSEGV,
	      "rule 6: it stays so");
	check(mshare_detach(v) == 0, "detach");

	/* An unnamed region has no name to be opened by. */
	int nameless = mshare_create(0, 0600);

	check(nameless >= 0 && mshare_reserve(nameless, NULL, GIB) == 0 &&
		      mshare_map(nameless, 0, P, RW, 0, -1, 0) == 0,
	      "an unnamed region: create, reserve, map");
	char *u = mshare_attach(nameless, NULL, RW, 0);

	check(u != MAP_FAILED && store(u, 1) == 0 && mshare_unmap(nameless, 0, P) == 0 &&
		      load(u, NULL) == SIGSEGV,
	      "attach, and a change while attached");
	child = peer_fork();
	check(mshare_map(nameless, P, P, RW, 0, -1, 0) == 0 && p_load(&child, u + P, NULL) == 0,
	      "rule 10: inherited");
	check(p_end(&child) && mshare_detach(u) == 0, "detach");

	/* What cannot be had. */
	check_error(mshare_reopen(fd, O_RDONLY), ENOENT, "reopen is a way through /proc");
	check(strstr(mshare_errmsg(), "/proc") != NULL, "and the sentence says so (%s)",
	      mshare_errmsg());
	must(mmap(u, 2 * P, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == u);
	must(store(u, 9) == 0);
	check(mshare(call, u, GIB, O_RDWR | O_CREAT, 0600) == -1 &&
		      strstr(mshare_errmsg(), "/proc"),
	      "mshare() has to know what is mapped: it says so (%s)", mshare_errmsg());
	check(value_at(u) == 9 && store(u, 9) == 0 && load(u + 2 * P, NULL) == SIGSEGV,
	      "and leaves it as it was");
	check_error(mshare_open(call, O_RDWR, 0), ENOENT, "and has made nothing");
	munmap(u, 2 * P);
	check(mshare_mkdir(call, 0700) == 0 && mshare_rmdir(call) == 0, "mkdir, rmdir");
	check(mshare_unlink(name) == 0, "unlink");
	check(mshare_detach(w) == 0, "detach");
	check(p_load(&p, w, NULL) == 0 && p_end(&p), "the peer ended well");
	/* For who else runs at exit. */
	must(umount("/proc") == 0);
	return done();
}
