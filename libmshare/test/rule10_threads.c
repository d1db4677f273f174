/* SPDX-License-Identifier: MIT */
/*
 * Rule 10: fork in a program whose other threads change, attach and detach at
 * that moment: the child has a whole view and can use the library.
 */
#include "test.h"

#include <pthread.h>

#define FORKS 25

static int fd, other;
static char *w;
static _Atomic bool stop;
static _Atomic int failed;
static _Atomic uint64_t changes, attaches;

static void *changer(void *arg)
{
	size_t P = page(), off = (size_t)(uintptr_t)arg * 8 * P;

	while (!stop) {
		if (mshare_map(fd, off, 2 * P, RW, 0, -1, 0) ||
		    mshare_protect(fd, off, P, PROT_READ) || mshare_unmap(fd, off, 2 * P)) {
			note("changer: errno %d (%s)", errno, mshare_errmsg());
			failed = 1;
			break;
		}
		changes++;
	}
	return NULL;
}

static void *attacher(void *arg)
{
	(void)arg;
	while (!stop) {
		char *v = mshare_attach(other, NULL, RW, MSHARE_ATTACH_ANYWHERE);

		if (v == MAP_FAILED || *(volatile uint64_t *)v != 8 || mshare_detach(v)) {
			note("attacher: errno %d (%s)", errno, mshare_errmsg());
			failed = 1;
			break;
		}
		attaches++;
	}
	return NULL;
}

static int child(void *arg)
{
	size_t P = page();
	uint64_t n = (uint64_t)(uintptr_t)arg, v;

	if (load(w, &v) || v != n)
		return 2;
	/* The library works in the child, whatever the threads held. */
	char *o = mshare_attach(other, NULL, RW, MSHARE_ATTACH_ANYWHERE);

	if (o == MAP_FAILED || load(o, &v) || v != 8)
		return 3;
	size_t off = (64 + n) * P;

	if (mshare_map(fd, off, P, RW, 0, -1, 0))
		return 4;
	if (load(w + off, &v) || v != 0)
		return 5;
	if (mshare_unmap(fd, off, P) || load(w + off, NULL) != SIGSEGV)
		return 6;
	if (mshare_detach(o) || mshare_detach(w))
		return 7;
	return 0;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	if (TEST_ASAN || TEST_TSAN)
		skip_all("the sanitizers' allocators are not safe in a child forked while other "
			 "threads allocate");
	size_t P = page();
	pthread_t t[3];
	int bad = 0;

	fd = region_new(unique("region"), GIB);
	other = region_new(unique("other"), GIB);
	must(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0 && mshare_map(other, 0, P, RW, 0, -1, 0) == 0);
	w = mshare_attach(fd, NULL, RW, 0);
	char *o = mshare_attach(other, NULL, RW, MSHARE_ATTACH_NOFORK);

	must(w != MAP_FAILED && o != MAP_FAILED && store(o, 8) == 0);
	probe_prepare();
	must(pthread_create(&t[0], NULL, changer, (void *)(uintptr_t)1) == 0);
	must(pthread_create(&t[1], NULL, changer, (void *)(uintptr_t)2) == 0);
	must(pthread_create(&t[2], NULL, attacher, NULL) == 0);
	for (uint64_t i = 0; i < FORKS; i++) {
		must(store(w, i) == 0);
		int status = in_child(child, (void *)(uintptr_t)i);

		if (!exited(status, 0)) {
			note("child %" PRIu64 ": wait status %#x", i, status);
			bad++;
		}
	}
	stop = true;
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	check_eq(bad, 0, "rule 10: %d children of a process whose threads were at work", FORKS);
	check(!failed, "rule 10: the threads were not disturbed");
	check(changes > 0 && attaches > 0,
	      "rule 10: they did work (%" PRIu64 " changes, %" PRIu64 " attachments)",
	      (uint64_t)changes, (uint64_t)attaches);
	check_eq(info_of(fd).attachments, 1, "rule 10: no attachment is left over");
	check_eq(info_of(other).attachments, 1, "rule 10: of either");
	check(mshare_detach(w) == 0 && mshare_detach(o) == 0, "detach");
	return done();
}
