/* SPDX-License-Identifier: MIT */
/* Rule 13: futexes work between attachers, at the same and at different addresses. */
#include "test.h"

#include <linux/futex.h>

static long futex(void *addr, int op, uint32_t val, const struct timespec *ts)
{
	return syscall(SYS_futex, addr, op, val, ts, NULL, 0);
}

/* Attach for oneself, elsewhere if the base is taken, and sleep at a word. */
static int sleeper(const char *name, void *avoid, struct line ready)
{
	int fd = mshare_open(name, O_RDWR, 0);
	char *w = mshare_attach(fd, avoid, RW, 0);
	struct timespec ts = {30, 0};

	if (w == MAP_FAILED)
		return 2;
	line_ring(ready);
	while (__atomic_load_n((uint32_t *)(w + 64), __ATOMIC_ACQUIRE) == 0)
		if (futex(w + 64, FUTEX_WAIT, 0, &ts) != 0 && errno != EAGAIN && errno != EINTR)
			return 3;
	return 0;
}

/* Wake until it is woken: it may not be asleep yet. */
static bool wake_one(void *addr, int op)
{
	uint64_t until = now_ms() + 30000;

	while (now_ms() < until) {
		long n = syscall(SYS_futex, addr, op, 1, NULL, NULL, FUTEX_BITSET_MATCH_ANY);

		if (n == 1)
			return true;
		usleep(500);
	}
	return false;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	const char *name = unique("region");
	int fd = region_new(name, GIB), status;

	must(mshare_map(fd, 0, page(), RW, 0, -1, 0) == 0);
	char *base = (char *)(uintptr_t)info_of(fd).base;
	/* A base that nobody has: the other address. */
	char *elsewhere = (char *)(uintptr_t)info_of(region_new(NULL, GIB)).base;

	for (int kind = 0; kind < 2; kind++) {
		struct line ready = line_new();
		pid_t pid = fork();

		must(pid >= 0);
		if (pid == 0)
			_exit(sleeper(name, kind ? elsewhere : base, ready));
		line_wait(ready);
		char *w = mshare_attach(fd, base, RW, 0);

		must(w != MAP_FAILED);
		/* It wakes of a wake alone, and goes back to sleep: the word is 0. */
		check(wake_one(w + 64, FUTEX_WAKE),
		      "rule 13: FUTEX_WAKE wakes a process at %s address",
		      kind ? "another" : "the same");
		check(wake_one(w + 64, FUTEX_WAKE_BITSET), "rule 13: so does FUTEX_WAKE_BITSET");
		__atomic_store_n((uint32_t *)(w + 64), 1, __ATOMIC_RELEASE);
		futex(w + 64, FUTEX_WAKE, INT_MAX, NULL);
		must(waitpid(pid, &status, 0) == pid);
		check(exited(status, 0), "rule 13: and it sees the value");
		__atomic_store_n((uint32_t *)(w + 64), 0, __ATOMIC_RELEASE);

		/* Private futexes are this process's and do not reach it. */
		check(mshare_detach(w) == 0, "detach");
		line_close(ready);
	}

	/* Requeue across processes: woken at one word, moved to another. */
	struct line ready = line_new();
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0)
		_exit(sleeper(name, elsewhere, ready));
	line_wait(ready);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED);
	long moved = 0;

	for (uint64_t until = now_ms() + 30000; !moved && now_ms() < until; usleep(500))
		moved = syscall(SYS_futex, w + 64, FUTEX_REQUEUE, 0, 1L, w + 128, 0);
	check_eq(moved, 1, "rule 13: FUTEX_REQUEUE moves a waiter of another process");
	check_eq(futex(w + 64, FUTEX_WAKE, 1, NULL), 0, "rule 13: it sleeps at the first no more");
	check_eq(futex(w + 128, FUTEX_WAKE, 1, NULL), 1, "rule 13: but at the second");
	__atomic_store_n((uint32_t *)(w + 64), 1, __ATOMIC_RELEASE);
	futex(w + 64, FUTEX_WAKE, INT_MAX, NULL);
	must(waitpid(pid, &status, 0) == pid);
	check(exited(status, 0), "rule 13: and comes back");

	/* The key is the memory: remapped, it is another futex. */
	must(mshare_unmap(fd, 0, page()) == 0);
	check(futex(w + 64, FUTEX_WAKE, 1, NULL) == -1 && errno == EFAULT,
	      "rule 13: a futex in a hole is EFAULT");
	must(mshare_map(fd, 0, page(), RW, 0, -1, 0) == 0);
	check_eq(futex(w + 64, FUTEX_WAKE, 1, NULL), 0, "rule 13: mapped again it works again");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
