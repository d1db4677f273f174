// SPDX-License-Identifier: MIT
/*
 * B4, B6 and B7 in instructions of the processor, for a guest whose clock counts them
 * (npm run vm -- --icount), with 6G of memory.
 *
 *	calls [ROUNDS [MIB]]
 *
 * One JSON line a round and contender, as change.c's. B4: a process (or thread) reads a word of
 * each page of memory that a peer has filled and has mapped. B6: attach, first access and detach,
 * or mmap, first access and munmap, of memory that is there. B7: fork, exit at once and wait, of a
 * process that has nothing, or a region or a memfd attached of which it has touched all.
 */
#include "guest.h"

#define WINDOW 64 /* GiB */
#define REPEATS 20

static const char *const names[] = {"memfd", "memfd, THP", "hugetlb", "msharefs"};

struct job {
	struct memory *memories;
	struct meeting *meeting;
	struct memory *memory;
	volatile char *at;
	int round;
};

static uint64_t ticks(void (*touch)(volatile char *, size_t), volatile char *at, size_t size)
{
	uint64_t begin = __rdtsc();

	touch(at, size);
	return __rdtsc() - begin;
}

/* --- B4: what a peer has touched ---------------------------------------------------------- */

/* Keeps all of it mapped: hugetlbfs shares page tables with those who have them. */
static void *fill_and_stay(void *argument)
{
	const struct job *job = argument;

	for (int kind = 0; kind < KINDS; kind++)
		if (job->memories[kind].fd != -1) {
			struct memory memory = job->memories[kind];

			write_pages(memory_map(&memory), memory.size);
		}
	add_one(&job->meeting->ready);
	for (;;)
		pause();
	return NULL;
}

static void report_reading(const struct job *job, const char *name, volatile char *at)
{
	size_t pages = job->memory->size / PAGE;

	/* The code itself is a fault the first time. */
	ticks(read_pages, at, 0);
	report("B4", pages, job->round,
	       (double)ticks(read_pages, at, job->memory->size) / (double)pages,
	       "instructions/page", "%s", name);
}

static void *read_in_process(void *argument)
{
	const struct job *job = argument;

	report_reading(job, names[job->memory->kind], memory_map(job->memory));
	return NULL;
}

static void *read_in_thread(void *argument)
{
	const struct job *job = argument;

	report_reading(job, "threads", job->at);
	return NULL;
}

static void *threads(void *argument)
{
	struct job *job = argument;
	pthread_t thread;

	job->at = memory_map(job->memory);
	read_pages(job->at, job->memory->size);
	if (pthread_create(&thread, NULL, read_in_thread, job))
		die("pthread_create");
	pthread_join(thread, NULL);
	return NULL;
}

static void touching(struct job *job)
{
	for (int kind = 0; kind < KINDS; kind++) {
		job->memory = job->memories + kind;
		if (job->memory->fd != -1)
			process_wait(process_start(read_in_process, job));
	}
	job->memory = job->memories + MEMFD;
	process_wait(process_start(threads, job));
}

/* --- B6: attach, access, detach ----------------------------------------------------------- */

static void attaching(const struct memory *memory, const char *what, int round)
{
	uint64_t spent = 0;

	for (int i = 0; i < REPEATS; i++) {
		volatile char *at;
		uint64_t begin;

		mark("%s, %s", names[memory->kind], what);
		begin = __rdtsc();
		at = memory_map(memory);
		read_pages(at, PAGE);
		memory_unmap(memory, at);
		spent += __rdtsc() - begin;
		mark(NULL);
	}
	report("B6", 1, round, (double)spent / REPEATS, "instructions", "%s, %s",
	       names[memory->kind], what);
}

static struct memory one_page(enum kind kind, size_t window)
{
	struct memory memory = {kind, PAGE, -1};
	volatile char *at;

	if (kind == REGION) {
		memory.fd = mshare_create(MSHARE_REQUIRE_SHARED_PAGE_TABLES, 0600);
		if (memory.fd == -1 || mshare_reserve(memory.fd, NULL, window) == -1 ||
		    mshare_map(memory.fd, 0, PAGE, RW, 0, -1, 0) == -1)
			die("region");
	} else {
		memory = memory_make(kind, PAGE);
	}
	at = memory_map(&memory);
	write_pages(at, PAGE);
	memory_unmap(&memory, at);
	return memory;
}

/* --- B7: fork ----------------------------------------------------------------------------- */

static void forking(const struct memory *memory, int round)
{
	volatile char *at = NULL;
	uint64_t spent = 0;

	if (memory) {
		at = memory_map(memory);
		read_pages(at, memory->size);
	}
	for (int i = 0; i < REPEATS; i++) {
		uint64_t begin = __rdtsc();
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		process_wait(pid);
		spent += __rdtsc() - begin;
	}
	report("B7", 1, round, (double)spent / REPEATS, "instructions", "%s",
	       memory ? names[memory->kind] : "nothing attached");
	if (memory)
		memory_unmap(memory, at);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 7;
	size_t size = (size_t)(argc > 2 ? atoi(argv[2]) : 1024) << 20;
	struct memory memories[KINDS], pages[2], wide;
	struct job job = {.memories = memories, .meeting = meeting_make()};
	char *before, full[40];
	pid_t peer;

	enter_cgroup();
	before = shmem_huge("advise");
	for (int kind = 0; kind < KINDS; kind++)
		memories[kind] = kind != HUGETLB || hugetlb_reserve(size)
					 ? memory_make((enum kind)kind, size)
					 : (struct memory){HUGETLB, size, -1};
	peer = process_start(fill_and_stay, &job);
	wait_until(&job.meeting->ready, 1);
	pages[0] = one_page(MEMFD, 0);
	pages[1] = one_page(REGION, GIB);
	wide = one_page(REGION, WINDOW * GIB);
	snprintf(full, sizeof(full), "%zu MiB mapped", size >> 20);
	for (int round = -1; round < rounds; round++) {
		job.round = round;
		touching(&job);
		attaching(&pages[0], "1 page", round);
		attaching(&pages[1], "1 page", round);
		attaching(&memories[MEMFD], full, round);
		attaching(&memories[REGION], full, round);
		attaching(&wide, "1 page, window of 64 GiB", round);
		forking(NULL, round);
		forking(&memories[REGION], round);
		forking(&memories[MEMFD], round);
	}
	process_kill(peer);
	free(shmem_huge(before));
	free(before);
	write_file("/proc/sys/vm/nr_hugepages", "0");
	return 0;
}
