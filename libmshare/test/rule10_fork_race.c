/* SPDX-License-Identifier: MIT */
/*
 * Rule 10: fork() in one thread while others change, attach and detach.
 * Each child has the attachment, follows, changes, and is not caught in a lock.
 */
#include "party_util.h"

#include <pthread.h>

#define FORKS (TEST_ASAN || TEST_TSAN ? 30 : 100)

static int fd, other;
static char *w;
static _Atomic int stop, failures;

static void *changer(void *arg)
{
	size_t P = page(), offset = (size_t)(intptr_t)arg * 16 * P;

	while (!stop) {
		if (mshare_map(fd, offset, 2 * P, RW, 0, -1, 0) != 0 ||
		    mshare_protect(fd, offset, P, PROT_READ) != 0 ||
		    mshare_unmap(fd, offset, 2 * P) != 0) {
			note("changer: %s", mshare_errmsg());
			failures++;
			return NULL;
		}
	}
	return NULL;
}

static void *attacher(void *arg)
{
	(void)arg;
	for (int i = 0; !stop; i++) {
		char *mine = mshare_attach(i % 2 ? fd : other, NULL, RW,
					   i % 3 ? MSHARE_ATTACH_ANYWHERE
						 : MSHARE_ATTACH_ANYWHERE | MSHARE_ATTACH_NOFORK);

		if (mine == MAP_FAILED || load(mine, NULL) != 0 || mshare_detach(mine) != 0) {
			note("attacher: %s", mshare_errmsg());
			failures++;
			return NULL;
		}
	}
	return NULL;
}

/* In a child: what is wrong, or 0. */
static int child(int i)
{
	size_t P = page(), offset = (size_t)(200 + i % 4) * P;

	if (load(w, NULL) != 0)
		return 2;
	if (mshare_map(fd, offset, P, RW, 0, -1, 0) != 0) {
		note("child: map: %s", mshare_errmsg());
		return 3;
	}
	if (store(w + offset, 1) != 0)
		return 4;
	if (mshare_unmap(fd, offset, P) != 0)
		return 5;
	if (load(w + offset, NULL) != SIGSEGV)
		return 6;
	if (i % 2 && mshare_detach(w) != 0)
		return 7;
	/* Whatever else was being attached is either here or not, but not in the way. */
	char *mine = mshare_attach(other, NULL, RW, MSHARE_ATTACH_ANYWHERE);

	return mine != MAP_FAILED && load(mine, NULL) == 0 ? 0 : 8;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	if (TEST_ASAN || TEST_TSAN)
		skip_all("the sanitizers' allocators are not safe in a child forked while other "
			 "threads allocate");
	pthread_t threads[4];
	int bad = 0, hung = 0;
	size_t P = page();

	probe_prepare();
	mshare_set_timeout(30000);
	fd = region_new(unique("region"), GIB);
	other = region_new(unique("other"), GIB);
	must(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0 && mshare_map(other, 0, P, RW, 0, -1, 0) == 0);
	w = mshare_attach(fd, NULL, RW, 0);
	must(w != MAP_FAILED);
	for (intptr_t i = 0; i < 4; i++)
		must(pthread_create(&threads[i], NULL, i < 2 ? changer : attacher,
				    (void *)(i + 1)) == 0);
	for (int i = 0; i < FORKS && !hung; i++) {
		pid_t pid = fork();
		int status = 0;

		must(pid >= 0);
		if (pid == 0)
			_exit(child(i));
		int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
		struct pollfd pfd = {.fd = pidfd, .events = POLLIN};

		must(pidfd >= 0);
		if (poll(&pfd, 1, 40000) != 1) {
			hung++;
			kill(pid, SIGKILL);
		}
		close(pidfd);
		must(waitpid(pid, &status, 0) == pid);
		if (!exited(status, 0)) {
			note("child %d: status %#x", i, status);
			bad++;
		}
	}
	stop = 1;
	for (int i = 0; i < 4; i++)
		must(pthread_join(threads[i], NULL) == 0);
	check_eq(hung, 0, "%d children forked in the middle of everything: none hangs", FORKS);
	check_eq(bad, 0, "each has the attachment, changes, and attaches");
	check_eq(failures, 0, "the parent's threads go on");
	check(settles(fd, 1, 0) && settles(other, 0, 0), "no attachment but the parent's is left");
	struct mshare_info info = info_of(fd);

	check(info.mapped == P && info.resident == P, "and no mapping but the first");
	check(mshare_detach(w) == 0 && info_of(fd).attachments == 0, "detach");
	return done();
}
