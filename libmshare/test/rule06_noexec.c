/* SPDX-License-Identifier: MIT */
/*
 * Rule 6: a root that is mounted noexec, as /dev/shm is in containers: nobody makes
 * memory executable through it. Where others do, by a mount that allows it, a
 * process on shm cannot have that mapping, and is told so.
 */
#include "mount_util.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	const char *root = own_root("size=16m"), *name = unique("region");
	char noexec[PATH_MAX];
	size_t P = page();

	snprintf(noexec, sizeof(noexec), "%s", temp_path("noexec"));
	must(mkdir(noexec, 0755) == 0 && mount(root, noexec, NULL, MS_BIND, NULL) == 0);
	must(mount(NULL, noexec, NULL, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_NOEXEC,
		   NULL) == 0);

	struct peer p = peer_exec();
	int there = p_open(&p, name, O_RDWR | O_CREAT | O_EXCL, 0600);

	must(there >= 0 && p_reserve(&p, there, NULL, GIB) == 0);
	must(p_map(&p, there, 0, 4 * P, RW, 0) == 0);
	must(setenv("MSHARE_ROOT", noexec, 1) == 0);
	int fd = mshare_open(name, O_RDWR, 0);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(fd >= 0 && w != MAP_FAILED);
	check(store(w, 1) == 0, "rule 6: attached through a mount with noexec");
	check_error(mshare_map(fd, 4 * P, P, PROT_READ | PROT_EXEC, 0, -1, 0), EACCES,
		    "rule 6: map of executable memory");
	check_error(mshare_protect(fd, 0, P, PROT_READ | PROT_EXEC), EACCES,
		    "rule 6: protect to executable");
	check(strstr(mshare_errmsg(), "noexec"), "the message says why: %s", mshare_errmsg());
	check(store(w, 2) == 0 && mshare_protect(fd, 0, P, PROT_READ) == 0 &&
		      mshare_protect(fd, 0, P, RW) == 0,
	      "nothing has changed, and other changes go on");

	check(p_protect(&p, there, P, P, PROT_READ | PROT_EXEC) == 0,
	      "rule 6: by the other mount it is allowed");
	if (on_shm()) {
		check_eq(info_of(fd).attachment_errno, EACCES,
			 "rule 6: an attacher that cannot have it is given up");
		check(load(w, NULL) == SIGSEGV && load(w + P, NULL) == SIGSEGV,
		      "rule 6: with all of the window");
		must(mshare_detach(w) == 0);
		check_error(mshare_attach(fd, NULL, RW, 0), EACCES, "rule 6: attach");
		check(strstr(mshare_errmsg(), "noexec"), "the message says why: %s",
		      mshare_errmsg());
		check(p_protect(&p, there, P, P, RW) == 0, "it is made data again");
		w = mshare_attach(fd, NULL, RW, 0);
		check(w != MAP_FAILED && value_at(w) == 2, "rule 6: and attach works");
	} else {
		check_eq(info_of(fd).attachment_errno, 0, "rule 6: shared tables are as they are");
		check(value_at(w) == 2 && load(w + P, NULL) == 0, "rule 6: for all attachers");
	}
	check(mshare_detach(w) == 0, "detach");
	return done();
}
