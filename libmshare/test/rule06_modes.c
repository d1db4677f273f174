/* SPDX-License-Identifier: MIT */
/* Rule 6: rights are file rights: owner, group, mode, umask. */
#include "test.h"

static mode_t mode_of(int fd)
{
	struct stat st;

	must(fstat(fd, &st) == 0);
	return st.st_mode & 07777;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	if (geteuid() != 0)
		skip_all("needs root: it becomes other users");
	size_t P = page();

	umask(027);
	int fd = mshare_open(unique("masked"), O_RDWR | O_CREAT | O_EXCL, 0666);

	check(fd >= 0 && mode_of(fd) == 0640, "rule 6: mode less umask");
	close(fd);
	umask(0);
	fd = mshare_open(unique("open"), O_RDWR | O_CREAT | O_EXCL, 0666);
	check(fd >= 0 && mode_of(fd) == 0666, "rule 6: no umask");
	close(fd);
	umask(022);

	const char *closed = unique("0600"), *readable = unique("0644"), *grouped = unique("0640"),
		   *none = unique("0000");
	struct {
		const char *name;
		mode_t mode;
	} made[] = {{closed, 0600}, {readable, 0644}, {grouped, 0640}, {none, 0}};
	int fds[4];

	for (int i = 0; i < 4; i++) {
		fds[i] = mshare_open(made[i].name, O_RDWR | O_CREAT | O_EXCL, made[i].mode);
		must(fds[i] >= 0 && mshare_reserve(fds[i], NULL, GIB) == 0);
		must(mshare_map(fds[i], 0, 2 * P, RW, 0, -1, 0) == 0);
		check_eq(mode_of(fds[i]), made[i].mode, "rule 6: a region of mode %04o",
			 made[i].mode);
	}
	must(fchown(fds[2], 0, STRANGER) == 0);

	struct peer p = peer_exec();

	must(p_become(&p, STRANGER, STRANGER) == 0);
	check_peer_error(p_open(&p, closed, O_RDONLY, 0), EACCES,
			 "rule 6: another user, 0600, read");
	check_peer_error(p_open(&p, closed, O_RDWR, 0), EACCES,
			 "rule 6: another user, 0600, write");
	check_peer_error(p_open(&p, none, O_RDONLY, 0), EACCES, "rule 6: another user, 0000");
	check_peer_error(p_open(&p, readable, O_RDWR, 0), EACCES,
			 "rule 6: another user, 0644, write");
	check_peer_error(p_open(&p, grouped, O_RDWR, 0), EACCES, "rule 6: the group, 0640, write");
	check_peer_error(p_open(&p, readable, O_RDWR | O_CREAT, 0666), EACCES,
			 "rule 6: another user, 0644, write, O_CREAT");
	check_peer_error(p_open(&p, "stranger's", O_RDWR | O_CREAT, 0666), EACCES,
			 "rule 6: another user may not create in a root of mode 0755");
	errno = 0;
	check(p_unlink(&p, readable) == -1 && (errno == EACCES || errno == EPERM),
	      "rule 6: nor unlink");

	/* Reads, follows changes, and cannot change anything. */
	const char *names[2] = {readable, grouped};

	for (int i = 0; i < 2; i++) {
		int mine = fds[1 + i], there = p_open(&p, names[i], O_RDONLY, 0);

		check(there >= 0, "rule 6: %s may open it to read", i ? "the group" : "anybody");
		check_peer_error(p_attach(&p, there, NULL, RW, 0), EACCES,
				 "rule 6: but not attach to write");
		char *w = p_attach(&p, there, NULL, PROT_READ, 0);

		check(w != MAP_FAILED, "rule 6: and attach to read");
		check(p_load(&p, w, NULL) == 0 && p_store(&p, w, 1) == SIGSEGV,
		      "rule 6: and read, and not write");
		check_peer_error(p_map(&p, there, 8 * P, P, RW, 0), EACCES, "rule 6: map");
		check_peer_error(p_unmap(&p, there, 0, P), EACCES, "rule 6: unmap");
		check_peer_error(p_protect(&p, there, 0, P, PROT_READ), EACCES, "rule 6: protect");
		check_peer_error(p_advise(&p, there, 0, P, MADV_DONTNEED), EACCES,
				 "rule 6: advise");
		check_peer_error(p_reopen(&p, there, O_RDWR), EACCES, "rule 6: reopen to write");
		check(p_reopen(&p, there, O_RDONLY) >= 0, "rule 6: reopen to read");
		/* Changes by who may reach it. */
		must(mshare_map(mine, 4 * P, P, RW, 0, -1, 0) == 0);
		check(p_load(&p, w + 4 * P, NULL) == 0 && p_store(&p, w + 4 * P, 1) == SIGSEGV,
		      "rule 6: a change by the owner reaches the reader");
		must(mshare_unmap(mine, 4 * P, P) == 0);
		check(p_load(&p, w + 4 * P, NULL) == SIGSEGV, "rule 6: unmap too");
		check(p_detach(&p, w) == 0, "rule 6: detach");
	}

	/* Read-only to its owner too; the descriptor that creates may write, as with open(2). */
	must(mshare_mkdir(unique("shared"), 0700) == 0);
	const char *dir = tap.names[tap.named - 1];
	int root = mshare_root();

	must(root >= 0 && fchmodat(root, dir, 0777, 0) == 0);
	for (int mode = 0; mode <= 0400; mode += 0400) {
		char name[256];

		snprintf(name, sizeof(name), "%s/%04o", dir, mode);
		int there = p_open(&p, name, O_RDWR | O_CREAT | O_EXCL, (mode_t)mode);

		check(there >= 0, "rule 6: create with mode %04o", mode);
		check(p_reserve(&p, there, NULL, GIB) == 0,
		      "rule 6: reserve through that descriptor");
		check(p_map(&p, there, 0, P, RW, 0) == 0, "rule 6: map through it");
		char *w = p_attach(&p, there, NULL, RW, 0);

		check(w != MAP_FAILED && p_store(&p, w, 5) == 0, "rule 6: attach through it");
		check(p_protect(&p, there, 0, P, PROT_READ) == 0 && p_store(&p, w, 6) == SIGSEGV,
		      "rule 6: a change while attached");
		check_peer_error(p_open(&p, name, O_RDWR, 0), EACCES,
				 "rule 6: it cannot be opened to write");
		if (!mode)
			check_peer_error(p_open(&p, name, O_RDONLY, 0), EACCES,
					 "rule 6: nor to read");
		check(p_detach(&p, w) == 0, "rule 6: detach");
		check(p_unlink(&p, name) == 0, "rule 6: unlink in a directory of mode 0777");
	}

	/* Created read-only: born, but not to be changed through this descriptor. */
	fd = mshare_open(unique("ro"), O_RDONLY | O_CREAT | O_EXCL, 0600);
	check(fd >= 0, "rule 6: O_RDONLY | O_CREAT makes a region");
	check_error(mshare_reserve(fd, NULL, GIB), EACCES, "rule 6: reserve through O_RDONLY");
	check_eq(info_of(fd).window, 0, "rule 6: it has no window");
	check(p_end(&p), "the peer ended well");
	return done();
}
