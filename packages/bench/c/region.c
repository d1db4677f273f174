// SPDX-License-Identifier: MIT
/*
 * B1 and B2: page tables and page faults of N processes (or threads) that each touch all pages of
 * the same memory. Counts, which say the same on any machine; for a guest (npm run vm), whose
 * settings of huge pages are changed.
 *
 *	region ROUNDS MIB MIB_AT_ONCE PROCESSES...
 *
 * One JSON line a round and contender, as change.c's. The memory, MIB of it, has been filled by
 * another process. Of threads and of what is filled nothing remains in page tables but in the
 * region's, which are its own. "empty, at once": 64 write to MIB_AT_ONCE that nobody has touched.
 */
#include "guest.h"

#define MOST 1024
#define AT_ONCE 64

/* Threads of one process that has the memfd mapped. */
#define THREADS KINDS

static const char *const names[] = {"memfd", "memfd, THP", "hugetlb", "msharefs", "threads"};

struct job {
	struct memory *memory;
	struct meeting *meeting;
	void (*touch)(volatile char *, size_t);
	int n;
	volatile char *at;
};

static uint64_t page_tables(void)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *meminfo;

	/* Processors count for themselves; this has them add it up. */
	write_file("/proc/sys/vm/stat_refresh", "1");
	meminfo = fopen("/proc/meminfo", "re");
	while (meminfo && fgets(line, sizeof(line), meminfo))
		if (sscanf(line, "PageTables: %llu", &kib) == 1)
			break;
	if (!kib)
		die("/proc/meminfo");
	fclose(meminfo);
	return kib << 10;
}

static void *work(void *argument)
{
	const struct job *job = argument;
	struct meeting *meeting = job->meeting;
	volatile char *at = job->at;
	struct rusage before, after;

	/* So that all that is needed besides has been touched. */
	job->touch(NULL, 0);
	getrusage(RUSAGE_THREAD, &after);
	add_one(&meeting->ready);
	wait_until(&meeting->go, 1);
	if (!at)
		at = memory_map(job->memory);
	atomic_fetch_add(&meeting->here, 1);
	while (atomic_load(&meeting->here) < (uint32_t)job->n)
		sched_yield();
	getrusage(RUSAGE_THREAD, &before);
	job->touch(at, job->memory->size);
	getrusage(RUSAGE_THREAD, &after);
	atomic_fetch_add(&meeting->faults, (uint64_t)(after.ru_minflt - before.ru_minflt));
	add_one(&meeting->ready);
	for (;;)
		pause();
	return NULL;
}

static void *threads(void *argument)
{
	struct job *job = argument;

	job->at = memory_map(job->memory);
	for (int i = 1; i < job->n; i++)
		thread_start(work, job);
	return work(job);
}

static void *fill(void *argument)
{
	const struct job *job = argument;

	write_pages(memory_map(job->memory), job->memory->size);
	return NULL;
}

struct counts {
	uint64_t tables, faults;
};

static struct counts count(int kind, struct job job)
{
	uint32_t n = (uint32_t)job.n;
	struct counts counts;
	pid_t pids[MOST];
	int processes = kind == THREADS ? 1 : job.n;
	uint64_t idle;

	job.meeting = meeting_make();
	for (int i = 0; i < processes; i++)
		pids[i] = process_start(kind == THREADS ? threads : work, &job);
	wait_until(&job.meeting->ready, n);
	idle = page_tables();
	add_one(&job.meeting->go);
	wait_until(&job.meeting->ready, 2 * n);
	counts = (struct counts){page_tables() - idle, atomic_load(&job.meeting->faults)};
	for (int i = 0; i < processes; i++)
		process_kill(pids[i]);
	munmap(job.meeting, PAGE);
	return counts;
}

static void filled(int kind, size_t size, int round, char **processes)
{
	struct memory memory = memory_make(kind == THREADS ? MEMFD : (enum kind)kind, size);
	struct job job = {.memory = &memory, .touch = read_pages};
	char bytes[40], faults[40];

	snprintf(bytes, sizeof(bytes), "bytes for %zu MiB", size >> 20);
	snprintf(faults, sizeof(faults), "faults for %zu MiB", size >> 20);
	process_wait(process_start(fill, &job));
	for (; *processes; processes++) {
		struct counts counts;
		size_t n;

		job.n = atoi(*processes);
		n = (size_t)job.n;
		counts = count(kind, job);
		if (kind == REGION) {
			struct mshare_info info;

			if (mshare_info(memory.fd, &info, sizeof(info)) == -1)
				die("info");
			report("B1", n, round, (double)info.page_table_bytes, bytes,
			       "%s: the region's own", names[kind]);
			report("B1", n, round, (double)counts.tables, bytes, "%s: the processes'",
			       names[kind]);
			counts.tables += info.page_table_bytes;
		}
		report("B1", n, round, (double)counts.tables, bytes, "%s", names[kind]);
		report("B2", n, round, (double)counts.faults, faults, "%s", names[kind]);
	}
	close(memory.fd);
}

static void at_once(int kind, size_t size, int round)
{
	struct memory memory = memory_make(kind == THREADS ? MEMFD : (enum kind)kind, size);
	struct job job = {.memory = &memory, .touch = write_pages, .n = AT_ONCE};
	char unit[40];

	snprintf(unit, sizeof(unit), "faults for %zu MiB", size >> 20);
	report("B2", AT_ONCE, round, (double)count(kind, job).faults, unit, "%s, empty, at once",
	       names[kind]);
	close(memory.fd);
}

int main(int argc, char **argv)
{
	int rounds = argc > 4 ? atoi(argv[1]) : 0;
	size_t size, size_at_once;

	for (int i = 4; i < argc; i++)
		if (atoi(argv[i]) < 1 || atoi(argv[i]) > MOST)
			rounds = 0;
	if (rounds < 1) {
		fprintf(stderr, "usage: region ROUNDS MIB MIB_AT_ONCE PROCESSES...\n");
		return 2;
	}
	size = (size_t)atoi(argv[2]) << 20;
	size_at_once = (size_t)atoi(argv[3]) << 20;
	enter_cgroup();
	for (int round = 0; round < rounds; round++) {
		char *before;

		filled(REGION, size, round, argv + 4);
		filled(MEMFD, size, round, argv + 4);
		filled(THREADS, size, round, argv + 4);
		before = shmem_huge("advise");
		filled(THP, size, round, argv + 4);
		free(shmem_huge(before));
		free(before);
		if (hugetlb_reserve(size)) {
			filled(HUGETLB, size, round, argv + 4);
			write_file("/proc/sys/vm/nr_hugepages", "0");
		}
	}
	/* How often they meet is chance: more rounds. */
	for (int round = 0; round < 5 * rounds; round++) {
		at_once(THREADS, size_at_once, round);
		at_once(REGION, size_at_once, round);
		if (round < rounds)
			at_once(MEMFD, size_at_once, round);
	}
	return 0;
}
