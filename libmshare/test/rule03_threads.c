/* SPDX-License-Identifier: MIT */
/*
 * Rule 3 within one process: many threads change, attach and detach the
 * same region and others at once. All succeed, and each thread's changes are in
 * force when they return.
 */
#include "party_util.h"

#include <pthread.h>

#define THREADS 8
#define ROUNDS (TEST_ASAN || TEST_TSAN ? 25 : 100)

static int fds[2];
static char *windows[2];
static _Atomic int failures;

#define EXPECT(cond)                                                                               \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			note("thread %d: %s: errno %d, %s", self, #cond, errno, mshare_errmsg());  \
			failures++;                                                                \
			return NULL;                                                               \
		}                                                                                  \
	} while (0)

/* Each thread has pages of its own in both regions. */
static void *changer(void *arg)
{
	int self = (int)(intptr_t)arg;
	size_t P = page();

	for (int i = 0; i < ROUNDS; i++) {
		int which = (i + self) % 2;
		size_t offset = (size_t)(16 + self * 16) * P;
		char *at = windows[which] + offset;
		struct mshare_info info;

		EXPECT(mshare_map(fds[which], offset, 4 * P, RW, 0, -1, 0) == 0);
		EXPECT(store(at, (uint64_t)i) == 0);
		EXPECT(mshare_protect(fds[which], offset, 2 * P, PROT_READ) == 0);
		EXPECT(store(at, 1) == SIGSEGV && store(at + 2 * P, 1) == 0);
		EXPECT(mshare_info(fds[which], &info, sizeof(info)) == 0);
		EXPECT(mshare_unmap(fds[which], offset, 4 * P) == 0);
		EXPECT(load(at, NULL) == SIGSEGV);
	}
	return NULL;
}

static void *attacher(void *arg)
{
	int self = (int)(intptr_t)arg;

	for (int i = 0; i < ROUNDS; i++) {
		int which = i % 2;
		/* One more user of what is there, or one more view. */
		int flags = i % 3 ? MSHARE_ATTACH_ANYWHERE : MSHARE_ATTACH_REUSE;
		char *w = mshare_attach(fds[which], NULL, i % 5 ? RW : PROT_READ,
					i % 5 ? flags : MSHARE_ATTACH_ANYWHERE);

		EXPECT(w != MAP_FAILED);
		EXPECT(load(w, NULL) == 0);
		EXPECT((w == windows[which]) == (i % 5 && !(i % 3)));
		EXPECT(mshare_detach(w) == 0);
		if (i % 5 && !(i % 3))
			EXPECT(load(windows[which], NULL) == 0);
	}
	return NULL;
}

/* At one address, which one thread at a time can have. */
static void *rival(void *arg)
{
	int self = (int)(intptr_t)arg;

	for (int i = 0; i < ROUNDS; i++) {
		errno = 0;
		char *w = mshare_attach(fds[1], windows[1] + 8 * GIB, RW, 0);

		if (w == MAP_FAILED) {
			EXPECT(errno == EADDRINUSE);
			continue;
		}
		EXPECT(w == windows[1] + 8 * GIB && load(w, NULL) == 0);
		EXPECT(mshare_detach(w) == 0);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	pthread_t threads[3 * THREADS];
	size_t P = page();

	probe_prepare();
	mshare_set_timeout(60000);
	for (int i = 0; i < 2; i++) {
		fds[i] = region_new(unique(i ? "b" : "a"), GIB);
		must(mshare_map(fds[i], 0, P, RW, 0, -1, 0) == 0);
		windows[i] = mshare_attach(fds[i], NULL, RW, 0);
		must(windows[i] != MAP_FAILED);
	}
	for (intptr_t i = 0; i < THREADS; i++) {
		must(pthread_create(&threads[3 * i], NULL, changer, (void *)i) == 0);
		must(pthread_create(&threads[3 * i + 1], NULL, attacher, (void *)i) == 0);
		must(pthread_create(&threads[3 * i + 2], NULL, rival, (void *)i) == 0);
	}
	for (int i = 0; i < 3 * THREADS; i++)
		must(pthread_join(threads[i], NULL) == 0);
	check_eq(failures, 0, "%d threads that change, attach and detach: all succeed",
		 3 * THREADS);
	for (int i = 0; i < 2; i++) {
		struct mshare_info info = info_of(fds[i]);

		check(info.attachments == 1 && info.stragglers == 0, "one attachment is left");
		check(info.mapped == P && info.resident == P, "and one page");
		check(mshare_detach(windows[i]) == 0, "detach");
		check_eq(info_of(fds[i]).attachments, 0, "none is left");
	}
	return done();
}
