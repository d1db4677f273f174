/* SPDX-License-Identifier: MIT */
/* Bad input: RLIMIT_NOFILE. A clear error, nothing lost or changed, no descriptor closed. */
#include "map_util.h"

#include <dirent.h>

static int open_fds(void)
{
	int n = 0;

	for (int i = 0; i < 256; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

/* EMFILE, or the call could do without: then it has to have been done. */
static bool emfile_or(bool did)
{
	return did || (errno == EMFILE && mshare_errno() == EMFILE && strlen(mshare_errmsg()) > 10);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region"), *new = unique("new");
	int fd = region_new(name, GIB), young = region_new(unique("young"), 0);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED && mshare_map(fd, 0, 2 * P, RW, 0, -1, 0) == 0);
	struct peer p = peer_exec();
	int there = p_open(&p, name, O_RDWR, 0);

	must(p_attach(&p, there, NULL, RW, 0) == w);
	struct rlimit rl, all;

	must(getrlimit(RLIMIT_NOFILE, &all) == 0);
	rl = all;
	rl.rlim_cur = 128;
	must(setrlimit(RLIMIT_NOFILE, &rl) == 0);
	while (dup(fd) >= 0)
		;
	must(errno == EMFILE);
	int before = open_fds();

	check_error(mshare_open(name, O_RDWR, 0), EMFILE, "open");
	check_error(mshare_open(new, O_RDWR | O_CREAT, 0600), EMFILE, "create");
	check_error(mshare_create(0, 0600), EMFILE, "create without a name");
	check_error(mshare_reopen(fd, O_RDONLY), EMFILE, "reopen");
	check_error(mshare_root(), EMFILE, "root");
	check_error(mshare_unlink(name), EMFILE, "unlink");
	check_error(mshare_mkdir(new, 0700), EMFILE, "mkdir");
	check_error(mshare_rmdir(new), EMFILE, "rmdir");

	int r = mshare_map(fd, 8 * P, P, RW, 0, -1, 0);

	check(emfile_or(r == 0 && load(w + 8 * P, NULL) == 0 && p_load(&p, w + 8 * P, NULL) == 0),
	      "map: done or EMFILE (%d, %s)", r, r ? mshare_errmsg() : "done");
	if (r != 0)
		check(load(w + 8 * P, NULL) == SIGSEGV && MAPPED_IS(fd, {0, 2 * P, RW, 0}),
		      "rule 2: nothing has changed");
	r = mshare_protect(fd, P, P, PROT_READ);
	check(emfile_or(r == 0 && p_store(&p, w + P, 1) == SIGSEGV), "protect: done or EMFILE");
	check((store(w + P, 1) == SIGSEGV) == (r == 0), "rule 2: all or nothing");
	r = mshare_unmap(fd, 8 * P, P);
	check(emfile_or(r == 0 && load(w + 8 * P, NULL) == SIGSEGV), "unmap: done or EMFILE");
	r = mshare_reserve(young, NULL, GIB);
	check(emfile_or(r == 0 && info_of(young).window == GIB), "reserve: done or EMFILE");
	check((info_of(young).window == GIB) == (r == 0), "rule 2: all or nothing");
	char *again = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE);

	check(emfile_or(again != MAP_FAILED && load(again, NULL) == 0),
	      "attach: done or EMFILE (%s)", again == MAP_FAILED ? mshare_errmsg() : "done");
	check_eq(info_of(fd).attachments, again == MAP_FAILED ? 2 : 3, "attached or not at all");
	if (again != MAP_FAILED)
		check(mshare_detach(again) == 0, "detach");
	check_eq(open_fds(), before, "no descriptor was lost or leaked");

	/* Who is attached at the limit follows others' changes. */
	check(p_map(&p, there, 16 * P, P, RW, 0) == 0 && load(w + 16 * P, NULL) == 0,
	      "rule 3: a change by another process arrives");
	check(p_unmap(&p, there, 0, P) == 0 && load(w, NULL) == SIGSEGV, "rule 3: an unmap too");
	check(info_of(fd).attachment_errno == 0 && info_of(fd).attachments == 2,
	      "the attachment is well");

	/* A child at the limit: whole, or none. */
	pid_t pid = fork();
	int status;

	must(pid >= 0);
	if (pid == 0) {
		int sig = load(w + 16 * P, NULL);

		_exit(sig == 0 || sig == SIGSEGV ? 0 : 1);
	}
	must(waitpid(pid, &status, 0) == pid);
	check(exited(status, 0), "rule 10: a child at the limit has the window or none");

	/* Detach needs no descriptor. */
	check(mshare_detach(w) == 0 && load(w + 16 * P, NULL) == SIGSEGV, "detach at the limit");
	must(setrlimit(RLIMIT_NOFILE, &all) == 0);
	check(mshare_attach(fd, NULL, RW, 0) == w && load(w + 16 * P, NULL) == 0,
	      "with room again it can be attached");
	check(mshare_open(new, O_RDWR, 0) == -1 && errno == ENOENT,
	      "nothing was made at the limit");
	check(p_end(&p) && mshare_detach(w) == 0, "detach");
	return done();
}
