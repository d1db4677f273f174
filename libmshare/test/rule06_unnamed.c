/* SPDX-License-Identifier: MIT */
/*
 * Rule 6: a descriptor of an unnamed region obeys its mode, and reopen makes
 * the weaker descriptor to hand on.
 */
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
		skip_all("needs root: it becomes another user");
	size_t P = page();
	static const mode_t modes[] = {0600, 0400, 0644, 0666, 0};
	int fds[5];

	umask(077);
	for (int i = 0; i < 5; i++) {
		fds[i] = mshare_create(0, modes[i]);
		must(fds[i] >= 0);
		check_eq(mode_of(fds[i]), modes[i],
			 "rule 6: unnamed, mode %04o, whatever the umask", modes[i]);
		must(mshare_reserve(fds[i], NULL, GIB) == 0);
		must(mshare_map(fds[i], 0, 2 * P, RW, 0, -1, 0) == 0);
	}
	umask(022);
	check((fcntl(fds[0], F_GETFL) & O_ACCMODE) == O_RDWR, "rule 6: born open read-write");
	check(fcntl(fds[0], F_GETFD) & FD_CLOEXEC, "rule 6: and close-on-exec");

	/* The weaker descriptor. */
	int weak = mshare_reopen(fds[2], O_RDONLY);

	check(weak >= 0 && (fcntl(weak, F_GETFL) & O_ACCMODE) == O_RDONLY,
	      "rule 6: reopen read-only");
	check(fcntl(weak, F_GETFD) & FD_CLOEXEC, "rule 6: close-on-exec too");
	check_error(mshare_map(weak, 8 * P, P, RW, 0, -1, 0), EACCES, "rule 6: it cannot map");
	check_error(mshare_attach(weak, NULL, RW, 0), EACCES, "rule 6: nor attach to write");
	int again = mshare_reopen(fds[2], O_RDWR);

	check(again >= 0 && mshare_map(again, 16 * P, P, RW, 0, -1, 0) == 0,
	      "rule 6: reopen read-write, by who may");
	close(again);

	/* Handed to another user. */
	struct peer p = peer_exec();

	must(p_become(&p, STRANGER, STRANGER) == 0);
	int there = p_take(&p, weak);
	char *w = p_attach(&p, there, NULL, PROT_READ, 0);

	check(w != MAP_FAILED && p_load(&p, w, NULL) == 0 && p_store(&p, w, 1) == SIGSEGV,
	      "rule 6: another user attaches with the weaker one, to read");
	check_peer_error(p_reopen(&p, there, O_RDWR), EACCES,
			 "rule 6: and cannot make it stronger (mode 0644)");
	check(p_reopen(&p, there, O_RDONLY) >= 0, "rule 6: nor needs to, to read (mode 0644)");
	check_peer_error(p_map(&p, there, 8 * P, P, RW, 0), EACCES, "rule 6: nor map");
	must(mshare_protect(fds[2], 0, P, PROT_NONE) == 0);
	check(p_load(&p, w, NULL) == SIGSEGV && p_load(&p, w + P, NULL) == 0,
	      "rule 6: changes reach it");
	check(p_detach(&p, w) == 0, "rule 6: detach");

	/* The mode is what decides, by whoever asks. */
	for (int i = 0; i < 5; i++) {
		int ro = p_take(&p, fds[i]);
		bool read = modes[i] & 04, write = modes[i] & 02;

		if (read)
			check(p_reopen(&p, ro, O_RDONLY) >= 0, "rule 6: mode %04o: reopen to read",
			      modes[i]);
		else
			check_peer_error(p_reopen(&p, ro, O_RDONLY), EACCES,
					 "rule 6: mode %04o: no reopen to read", modes[i]);
		if (write)
			check(p_reopen(&p, ro, O_RDWR) >= 0, "rule 6: mode %04o: reopen to write",
			      modes[i]);
		else
			check_peer_error(p_reopen(&p, ro, O_RDWR), EACCES,
					 "rule 6: mode %04o: no reopen to write", modes[i]);
		/* The descriptor itself is open read-write: its holder may use it so. */
		w = p_attach(&p, ro, NULL, RW, 0);
		check(w != MAP_FAILED && p_store(&p, w + P, 70 + (uint64_t)i) == 0,
		      "rule 6: mode %04o: a strong descriptor given away is strong", modes[i]);
		check(p_map(&p, ro, 32 * P, P, RW, 0) == 0 && p_store(&p, w + 32 * P, 1) == 0,
		      "rule 6: mode %04o: for changes too", modes[i]);
		must(mshare_map(fds[i], 40 * P, P, RW, 0, -1, 0) == 0);
		check(p_load(&p, w + 40 * P, NULL) == 0, "rule 6: mode %04o: and others' reach it",
		      modes[i]);
		check(p_detach(&p, w) == 0, "rule 6: detach");
	}
	check(p_end(&p), "the peer ended well");
	return done();
}
