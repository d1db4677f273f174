// SPDX-License-Identifier: MIT
/*
 * B9: how long a change takes to reach K attached processes, beside the least
 * that any such protocol does: a bare loop in which one futex wake reaches K
 * processes, each of which makes one mmap() and takes one file lock, and the
 * last of which wakes the waker.
 *
 *	change [ATTACHERS [ROUNDS [CHANGES]]]
 *
 * Rounds of the two are interleaved. One JSON line a round and contender:
 * {"id","contender","n","round","value","unit"}, value in ns a change. For
 * ours a change is mshare_map() of one page (NORESERVE, as the bare loop's mmap()
 * allocates nothing); the unmap between two of them is not timed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mshare.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define MOST 1024

static void die(const char *what)
{
	fprintf(stderr, "change: %s: %s\n", what, mshare_errno() ? mshare_errmsg() : "failed");
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void futex(_Atomic uint32_t *word, int op, uint32_t value)
{
	syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

/* Fork `count` children that run(argument) and wait for their byte through a pipe. */
static void children_start(pid_t *pids, int count, void (*run)(void *), void *argument)
{
	int ready[2];
	char byte;

	if (pipe(ready) == -1)
		die("pipe");
	for (int i = 0; i < count; i++) {
		pids[i] = fork();
		if (pids[i] == -1)
			die("fork");
		if (pids[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(ready[0]);
			dup2(ready[1], 3);
			run(argument);
			_exit(0);
		}
	}
	close(ready[1]);
	for (int i = 0; i < count; i++)
		if (read(ready[0], &byte, 1) != 1)
			die("a child did not start");
	close(ready[0]);
}

static void children_end(const pid_t *pids, int count)
{
	for (int i = 0; i < count; i++)
		kill(pids[i], SIGKILL);
	for (int i = 0; i < count; i++)
		waitpid(pids[i], NULL, 0);
}

struct bare {
	_Atomic uint32_t word; /* the change's number */
	_Atomic uint32_t left; /* who has not followed yet */
	_Atomic uint32_t done;
	char *file;
};

static void bare_child(void *argument)
{
	struct bare *bare = argument;
	int fd = open(bare->file, O_RDWR | O_CLOEXEC);
	char *at = mmap(NULL, PAGE, PROT_NONE, MAP_SHARED, fd, 0);
	uint32_t seen = atomic_load(&bare->word);

	if (write(3, "", 1) != 1)
		_exit(1);
	for (;;) {
		struct flock lock = {.l_type = F_RDLCK, .l_start = getpid(), .l_len = 1};

		while (atomic_load(&bare->word) == seen)
			futex(&bare->word, FUTEX_WAIT, seen);
		seen = atomic_load(&bare->word);
		if (mmap(at, PAGE, seen & 1 ? PROT_READ | PROT_WRITE : PROT_NONE,
			 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ||
		    fcntl(fd, F_OFD_SETLK, &lock) == -1)
			_exit(1);
		if (atomic_fetch_sub(&bare->left, 1) == 1) {
			atomic_store(&bare->done, seen);
			futex(&bare->done, FUTEX_WAKE, 1);
		}
	}
}

static uint64_t bare_round(struct bare *bare, int attachers, int changes)
{
	uint64_t spent = 0;

	for (int i = 0; i < 2 * changes; i++) {
		uint32_t next = atomic_load(&bare->word) + 1, seen;
		uint64_t begin = now();

		atomic_store(&bare->left, (uint32_t)attachers);
		atomic_store(&bare->word, next);
		futex(&bare->word, FUTEX_WAKE, MOST);
		while ((seen = atomic_load(&bare->done)) != next)
			futex(&bare->done, FUTEX_WAIT, seen);
		/* The odd ones make it accessible; ours times those alone, too. */
		if (next & 1)
			spent += now() - begin;
	}
	return spent / (uint64_t)changes;
}

static void mshare_child(void *argument)
{
	if (mshare_attach(*(int *)argument, NULL, PROT_READ | PROT_WRITE, 0) == MAP_FAILED)
		die("attach");
	if (write(3, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static uint64_t mshare_round(int fd, int changes)
{
	uint64_t spent = 0;

	for (int i = 0; i < changes; i++) {
		uint64_t begin = now();

		if (mshare_map(fd, 0, PAGE, PROT_READ | PROT_WRITE, MSHARE_MAP_NORESERVE, -1, 0))
			die("map");
		spent += now() - begin;
		if (mshare_unmap(fd, 0, PAGE))
			die("unmap");
	}
	return spent / (uint64_t)changes;
}

static void report(const char *contender, int attachers, int round, uint64_t ns)
{
	printf("{\"id\":\"B9\",\"contender\":\"%s\",\"n\":%d,\"round\":%d,\"value\":%llu,"
	       "\"unit\":\"ns/change\"}\n",
	       contender, attachers, round, (unsigned long long)ns);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int attachers = argc > 1 ? atoi(argv[1]) : 8;
	int rounds = argc > 2 ? atoi(argv[2]) : 7;
	int changes = argc > 3 ? atoi(argv[3]) : 200;
	pid_t bare_pids[MOST], mshare_pids[MOST];
	char path[40];
	struct bare *bare;
	int file, fd;

	if (attachers < 1 || attachers > MOST || rounds < 1 || changes < 1) {
		fprintf(stderr, "usage: change [ATTACHERS [ROUNDS [CHANGES]]]\n");
		return 2;
	}
	bare = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	file = memfd_create("bare", 0);
	if (bare == MAP_FAILED || file == -1 || ftruncate(file, PAGE) == -1)
		die("set-up");
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), file);
	bare->file = path;
	fd = mshare_create(0, 0600);
	if (fd == -1 || mshare_reserve(fd, NULL, mshare_alignment()) == -1)
		die("create");
	children_start(bare_pids, attachers, bare_child, bare);
	children_start(mshare_pids, attachers, mshare_child, &fd);
	for (int round = 0; round < rounds; round++) {
		report("bare loop", attachers, round, bare_round(bare, attachers, changes));
		report("shm", attachers, round, mshare_round(fd, changes));
	}
	children_end(bare_pids, attachers);
	children_end(mshare_pids, attachers);
	return 0;
}
