/* SPDX-License-Identifier: MIT */
/* What the programs that measure in a guest have in common; each is one file. */
#ifndef GUEST_H
#define GUEST_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <mshare.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#define PAGE ((size_t)4096)
#define HUGE_PAGE ((size_t)2 << 20)
#define GIB ((size_t)1 << 30)
#define RW (PROT_READ | PROT_WRITE)

/* All of them: those who wait for this one would wait for ever. */
static inline void die(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what,
		mshare_errno() ? mshare_errmsg() : strerror(errno));
	kill(0, SIGTERM);
	exit(1);
}

__attribute__((format(printf, 6, 7))) static void report(const char *id, size_t n, int round,
							 double value, const char *unit,
							 const char *contender, ...)
{
	va_list args;

	/* Rounds below 0 are for what is allocated once. */
	if (round < 0)
		return;
	printf("{\"id\":\"%s\",\"contender\":\"", id);
	va_start(args, contender);
	vprintf(contender, args);
	va_end(args);
	printf("\",\"n\":%zu,\"round\":%d,\"value\":%.2f,\"unit\":\"%s\"}\n", n, round, value,
	       unit);
	/* What is forked must not have it to print once more. */
	fflush(stdout);
}

static inline void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd == -1 || write(fd, text, strlen(text)) == -1)
		die(path);
	close(fd);
}

/* Its address also tells where the program is. */
static char mark_label[200];

/*
 * Where a profile begins (profile.ts), and with NULL where it ends: a breakpoint is in this system
 * call, and what it is of is read from its argument, which it has not. Not in what is counted.
 */
__attribute__((format(printf, 1, 2), unused)) static void mark(const char *what, ...)
{
	va_list args;

	if (what) {
		size_t head = (size_t)sprintf(mark_label, "profile: ");

		va_start(args, what);
		vsnprintf(mark_label + head, sizeof(mark_label) - head, what, args);
		va_end(args);
	}
	syscall(SYS_getppid, what ? mark_label : NULL);
}

/* What a program runs in is a cgroup, and charging it costs something. */
static inline void enter_cgroup(void)
{
	if (mkdir("/sys/fs/cgroup/bench", 0755) == -1 && errno != EEXIST)
		die("cgroup");
	write_file("/sys/fs/cgroup/bench/cgroup.procs", "0");
}

/* --- memory ------------------------------------------------------------------------------- */

enum kind { MEMFD, THP, HUGETLB, REGION, KINDS };

struct memory {
	enum kind kind;
	size_t size;
	int fd;
};

static const char shmem_enabled[] = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

/* Gives what was chosen before. */
static inline char *shmem_huge(const char *choice)
{
	char before[100];
	int fd = open(shmem_enabled, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd == -1 ? -1 : read(fd, before, sizeof(before) - 1);
	char *chosen, *end;

	if (n <= 0)
		die(shmem_enabled);
	close(fd);
	before[n] = 0;
	chosen = strchr(before, '[') + 1;
	end = strchr(chosen, ']');
	*end = 0;
	chosen = strdup(chosen);
	write_file(shmem_enabled, choice);
	return chosen;
}

/* False where the guest has too little memory in one piece. */
static inline int hugetlb_reserve(size_t size)
{
	static const char path[] = "/proc/sys/vm/nr_hugepages";
	char text[24];
	unsigned long got = 0;
	FILE *file;

	snprintf(text, sizeof(text), "%zu", size / HUGE_PAGE);
	write_file(path, text);
	file = fopen(path, "re");
	if (!file || fscanf(file, "%lu", &got) != 1)
		die(path);
	fclose(file);
	if (got >= size / HUGE_PAGE)
		return 1;
	fprintf(stderr, "hugetlb is left out: of %s pages there are %lu\n", text, got);
	write_file(path, "0");
	return 0;
}

/* hugetlbfs shares page tables of whole GiB that are mapped at multiples of it, and of no less. */
static inline size_t memory_length(const struct memory *memory)
{
	return memory->kind == HUGETLB ? GIB : memory->size;
}

static inline struct memory memory_make(enum kind kind, size_t size)
{
	struct memory memory = {kind, size, -1};

	if (kind == REGION) {
		memory.fd = mshare_create(MSHARE_REQUIRE_SHARED_PAGE_TABLES, 0600);
		if (memory.fd == -1 ||
		    mshare_reserve(memory.fd, NULL, (size + GIB - 1) / GIB * GIB) == -1 ||
		    mshare_map(memory.fd, 0, size, RW, 0, -1, 0) == -1)
			die("region");
		return memory;
	}
	memory.fd = memfd_create("bench", MFD_CLOEXEC | (kind == HUGETLB ? MFD_HUGETLB : 0));
	if (memory.fd == -1 || ftruncate(memory.fd, (off_t)memory_length(&memory)) == -1)
		die("memfd");
	return memory;
}

static inline volatile char *memory_map(const struct memory *memory)
{
	/* As aligned as it has to be, and where nothing else is. */
	void *aligned = (void *)(0x200000000000 + memory->kind * 64 * GIB), *at;

	if (memory->kind == REGION) {
		at = mshare_attach(memory->fd, NULL, RW, 0);
	} else {
		int flags = memory->kind == MEMFD
				    ? MAP_SHARED
				    : MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE;

		at = mmap(memory->kind == MEMFD ? NULL : aligned, memory_length(memory), RW, flags,
			  memory->fd, 0);
	}
	if (at == MAP_FAILED)
		die("mmap");
	if (memory->kind == THP && madvise(at, memory->size, MADV_HUGEPAGE) == -1)
		die("MADV_HUGEPAGE");
	return at;
}

static inline void memory_unmap(const struct memory *memory, volatile char *at)
{
	void *address = (void *)(uintptr_t)at;

	if (memory->kind == REGION ? mshare_detach(address)
				   : munmap(address, memory_length(memory)))
		die("munmap");
}

/* Not inlined: what is compared is the same code. */
__attribute__((noinline, unused)) static void read_pages(volatile char *at, size_t size)
{
	for (size_t i = 0; i < size; i += PAGE)
		(void)at[i];
}

__attribute__((noinline, unused)) static void write_pages(volatile char *at, size_t size)
{
	for (size_t i = 0; i < size; i += PAGE)
		at[i] = 1;
}

/* --- processes and threads ---------------------------------------------------------------- */

/* In memory of all of them. */
struct meeting {
	_Atomic uint32_t ready, go;
	_Atomic uint32_t here;
	_Atomic uint64_t faults;
};

static inline void futex(_Atomic uint32_t *word, int op, uint32_t value)
{
	syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

static inline void wait_until(_Atomic uint32_t *word, uint32_t value)
{
	uint32_t seen;

	while ((seen = atomic_load(word)) != value)
		futex(word, FUTEX_WAIT, seen);
}

static inline void add_one(_Atomic uint32_t *word)
{
	atomic_fetch_add(word, 1);
	futex(word, FUTEX_WAKE, INT_MAX);
}

static inline struct meeting *meeting_make(void)
{
	struct meeting *meeting = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (meeting == MAP_FAILED)
		die("mmap");
	return meeting;
}

static inline pid_t process_start(void *(*work)(void *), void *argument)
{
	pid_t pid = fork();

	if (pid == -1)
		die("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		work(argument);
		_exit(0);
	}
	return pid;
}

static inline void process_wait(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || status)
		die("a process");
}

static inline void process_kill(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static inline void thread_start(void *(*work)(void *), void *argument)
{
	pthread_attr_t small;
	pthread_t thread;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 << 10);
	if (pthread_create(&thread, &small, work, argument))
		die("pthread_create");
}

#endif
