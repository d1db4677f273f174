/* SPDX-License-Identifier: MIT */
/* MSHARE_ATTACH_REUSE: several users of a process share one attachment, counted. (Rule 11.) */
#include "test.h"

#include <pthread.h>

#define THREADS 4
#define ROUNDS 100

static int fd;
static char *base;
static _Atomic int failed;

static void *user(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		char *w = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_REUSE);

		if (w != base || load(w, NULL) != 0 || mshare_detach(w) != 0) {
			note("errno %d (%s)", errno, mshare_errmsg());
			failed = 1;
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");

	fd = region_new(name, GIB);
	base = (char *)(uintptr_t)info_of(fd).base;
	must(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0);

	check(mshare_attach(fd, NULL, RW, MSHARE_ATTACH_REUSE) == base, "the first user attaches");
	check(mshare_attach(fd, NULL, RW, MSHARE_ATTACH_REUSE) == base, "the second gets the same");
	check_eq(info_of(fd).attachments, 1, "one attachment");
	int other = mshare_open(name, O_RDWR, 0);

	check(mshare_attach(other, NULL, RW, MSHARE_ATTACH_REUSE) == base,
	      "the third, by another descriptor of the region");
	check(mshare_attach(fd, base, RW, MSHARE_ATTACH_REUSE) == base, "the fourth, by address");
	check_error(mshare_attach(fd, NULL, RW, 0), EADDRINUSE, "rule 4: without the flag: taken");
	int free_base = region_new(NULL, GIB);
	char *elsewhere = (char *)(uintptr_t)info_of(free_base).base;

	check(mshare_attach(fd, elsewhere, RW, MSHARE_ATTACH_REUSE) == elsewhere &&
		      info_of(fd).attachments == 2 && mshare_detach(elsewhere) == 0,
	      "another address is another attachment");
	int users = 4;

	while (users-- > 1)
		check(mshare_detach(base) == 0 && load(base, NULL) == 0 &&
			      info_of(fd).attachments == 1,
		      "one user goes, %d are left", users);
	check(mshare_detach(base) == 0 && load(base, NULL) == SIGSEGV &&
		      info_of(fd).attachments == 0,
	      "the window goes with the last");
	check_error(mshare_detach(base), EINVAL, "and once only");

	/* An attachment made without the flag can be shared by who asks to. */
	check(mshare_attach(fd, NULL, RW, 0) == base &&
		      mshare_attach(fd, NULL, RW, MSHARE_ATTACH_REUSE) == base,
	      "an attachment made without the flag");
	check(mshare_detach(base) == 0 && load(base, NULL) == 0 && mshare_detach(base) == 0 &&
		      load(base, NULL) == SIGSEGV,
	      "two users");

	/* Another protection is another attachment. */
	check(mshare_attach(fd, NULL, RW, MSHARE_ATTACH_REUSE) == base, "read-write");
	char *ro = mshare_attach(fd, NULL, PROT_READ, MSHARE_ATTACH_REUSE | MSHARE_ATTACH_ANYWHERE);

	check(ro != MAP_FAILED && ro != base && store(ro, 1) == SIGSEGV,
	      "read-only: another attachment, elsewhere");
	check(mshare_attach(fd, NULL, PROT_READ, MSHARE_ATTACH_REUSE | MSHARE_ATTACH_ANYWHERE) ==
		      ro,
	      "which can be shared too");
	check_error(mshare_attach(fd, NULL, PROT_READ, MSHARE_ATTACH_REUSE), EADDRINUSE,
		    "read-only at the base: taken by the read-write one");

	/* A child has the attachment with one user: its own. */
	must(mshare_attach(fd, NULL, RW, MSHARE_ATTACH_REUSE) == base);
	struct peer child = peer_fork();

	check(p_load(&child, base, NULL) == 0, "a child inherits it");
	check(p_detach(&child, base) == 0, "and can detach");
	check(load(base, NULL) == 0, "the parent's stays");
	check(p_end(&child), "the child ended well");
	check(mshare_detach(ro) == 0 && mshare_detach(ro) == 0 && mshare_detach(base) == 0 &&
		      mshare_detach(base) == 0 && info_of(fd).attachments == 0,
	      "all go");

	/* Of another region with the same base nothing is taken. */
	int twin = region_new(unique("twin"), 0);

	must(mshare_reserve(twin, base, GIB) == 0);
	must(mshare_attach(fd, NULL, RW, MSHARE_ATTACH_REUSE) == base);
	check_error(mshare_attach(twin, NULL, RW, MSHARE_ATTACH_REUSE), EADDRINUSE,
		    "rule 4: another region at the same base is not the same");
	check(mshare_detach(base) == 0, "detach");

	pthread_t t[THREADS];

	for (int i = 0; i < THREADS; i++)
		must(pthread_create(&t[i], NULL, user, NULL) == 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	check(!failed, "%d threads come and go, %d times each", THREADS, ROUNDS);
	check(info_of(fd).attachments == 0 && load(base, NULL) == SIGSEGV, "nothing is left");
	return done();
}
