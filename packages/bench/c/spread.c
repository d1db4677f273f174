// SPDX-License-Identifier: MIT
/*
 * B5: what a change costs that K processes are to see (attachers of a region, the caller one of
 * them), against K threads of one process. In instructions of all processors, for a guest whose
 * clock counts them (npm run vm -- --icount).
 *
 *	spread ROUNDS MOST_PAGES idle|running K...
 *
 * One JSON line a round and contender, as change.c's. Protected or unmapped are 1, 64 and 16,384
 * pages, all present and writable before, as far as MOST_PAGES. The others have touched memory
 * beside them; idle ones then sleep, running ones read it without end, on all processors but the
 * caller's. "threads" share a memfd; to unmap memory is, for them, munmap() and to punch a hole:
 * after mshare_unmap() it is free. "of a file": of a memfd, which keeps it, for both. "private
 * threads" have anonymous memory. "by ioctl": without what libmshare looks at first.
 *
 * With several processors: TLB interrupts of all of them, and instructions only where others run.
 */
#include "guest.h"
#include <linux/msharefs.h>
#include <sched.h>
#include <sys/ioctl.h>

#define MOST 256

enum contender { OURS, OURS_FILE, OURS_IOCTL, THREADS, THREADS_FILE, PRIVATE, CONTENDERS };

static const char *const names[] = {"msharefs", "msharefs", "msharefs by ioctl",
				    "threads",  "threads",  "private threads"};

static const size_t lengths[] = {PAGE, 64 * PAGE, 16384 * PAGE};

struct job {
	enum contender contender;
	int k, round, running, processors;
	size_t most;
	struct meeting *meeting;
	int region, file;
	char *at;
};

static int shares(const struct job *job)
{
	return job->contender <= OURS_IOCTL;
}

static uint64_t interrupts(void)
{
	static char text[16384];
	int fd = open("/proc/interrupts", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd == -1 ? -1 : read(fd, text, sizeof(text) - 1);
	uint64_t sum = 0, value;
	char *line;
	int used;

	if (n <= 0)
		die("/proc/interrupts");
	close(fd);
	text[n] = 0;
	line = strstr(text, "TLB:");
	if (!line)
		die("TLB in /proc/interrupts");
	for (line += 4; sscanf(line, "%lu%n", &value, &used) == 1; line += used)
		sum += value;
	return sum;
}

static void attach(struct job *job)
{
	job->at = mshare_attach(job->region, NULL, RW, 0);
	if (job->at == MAP_FAILED)
		die("attach");
}

/* So that none of those who run is in the way of the caller. */
static void use_processor(uint32_t number)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(number, &set);
	if (sched_setaffinity(0, sizeof(set), &set) == -1)
		die("sched_setaffinity");
}

static void *other(void *argument)
{
	struct job job = *(struct job *)argument;
	volatile char *beside;
	uint32_t number;

	if (shares(&job))
		attach(&job);
	beside = job.at + job.most;
	(void)*beside;
	if (job.running) {
		number = atomic_fetch_add(&job.meeting->here, 1);
		use_processor(1 + number % (uint32_t)(job.processors - 1));
	}
	add_one(&job.meeting->ready);
	/* All at once: those who run would keep others from getting so far, or from ending. */
	if (job.running) {
		wait_until(&job.meeting->go, 1);
		atomic_fetch_add(&job.meeting->ready, 1);
	}
	while (job.running && atomic_load(&job.meeting->go) == 1) {
		(void)*beside;
		/* Under QEMU this is what lets other processors run. */
		_mm_pause();
	}
	for (;;)
		pause();
	return NULL;
}

static void protect(const struct job *job, size_t length, int prot)
{
	struct mshare_protect change = {.size = length, .prot = (uint32_t)prot};

	if (job->contender == OURS_IOCTL) {
		if (ioctl(job->region, MSHAREFS_PROTECT, &change))
			die("MSHAREFS_PROTECT");
		return;
	}
	if (shares(job) ? mshare_protect(job->region, 0, length, prot)
			: mprotect(job->at, length, prot))
		die("protect");
}

static void unmap(const struct job *job, size_t length)
{
	struct mshare_unmap change = {.size = length};

	if (job->contender == OURS_IOCTL) {
		if (ioctl(job->region, MSHAREFS_UNMAP, &change))
			die("MSHAREFS_UNMAP");
		return;
	}
	if (shares(job) ? mshare_unmap(job->region, 0, length) : munmap(job->at, length))
		die("unmap");
	if (job->contender == THREADS &&
	    fallocate(job->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)length))
		die("fallocate");
}

static void map(const struct job *job, size_t length)
{
	void *at = job->at;

	if (shares(job)) {
		if (mshare_map(job->region, 0, length, RW, 0,
			       job->contender == OURS_FILE ? job->file : -1, 0))
			die("map");
		return;
	}
	if (job->contender == PRIVATE)
		at = mmap(at, length, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	else
		at = mmap(at, length, RW, MAP_SHARED | MAP_FIXED, job->file, 0);
	if (at == MAP_FAILED)
		die("mmap");
}

static void changes(const struct job *job, size_t length)
{
	size_t pages = length / PAGE, k = (size_t)job->k;
	const char *name = names[job->contender], *plural = pages == 1 ? "" : "s";
	const char *how = job->running ? "running" : "idle";
	int is_file = job->contender == OURS_FILE || job->contender == THREADS_FILE;
	const char *file = is_file ? " of a file" : "";

	/* To protect is the same, whatever the memory is of. */
	for (int unmapping = is_file; unmapping < 2; unmapping++) {
		const char *verb = unmapping ? "unmap" : "protect";
		uint64_t before, begin, spent;

		write_pages(job->at, length);
		before = interrupts();
		mark("%s, %s %zu page%s%s, %zu", name, verb, pages, plural, file, k);
		begin = __rdtsc();
		if (unmapping)
			unmap(job, length);
		else
			protect(job, length, PROT_READ);
		spent = __rdtsc() - begin;
		mark(NULL);
		before = interrupts() - before;
		if (job->running || job->processors == 1)
			report("B5", k, job->round, (double)spent, "instructions",
			       "%s, %s %zu page%s%s, %s", name, verb, pages, plural, file, how);
		if (job->processors > 1)
			report("B5", k, job->round, (double)before, "TLB interrupts",
			       "interrupts: %s, %s %zu page%s%s, %s", name, verb, pages, plural,
			       file, how);
		if (unmapping)
			map(job, length);
		else
			protect(job, length, RW);
	}
}

/* Until all the processors there are for it are at it. */
static void let_run(const struct job *job)
{
	uint32_t others = (uint32_t)job->k - 1, places = (uint32_t)job->processors - 1;
	uint32_t running = others < places ? others : places;

	add_one(&job->meeting->go);
	while (atomic_load(&job->meeting->ready) < others + running)
		_mm_pause();
}

/* A process of its own: with it goes all that it had. */
static void *contend(void *argument)
{
	struct job *job = argument;
	size_t size = job->most + PAGE;
	pid_t pids[MOST];
	struct job warm;

	if (job->running)
		use_processor(0);
	job->meeting = meeting_make();
	job->file = memfd_create("bench", MFD_CLOEXEC);
	if (job->file == -1 || ftruncate(job->file, (off_t)size) == -1)
		die("memfd");
	if (shares(job)) {
		job->region = mshare_create(MSHARE_REQUIRE_SHARED_PAGE_TABLES, 0600);
		if (job->region == -1 ||
		    mshare_reserve(job->region, NULL, mshare_alignment()) == -1)
			die("region");
		map(job, size);
	} else {
		job->at = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (job->at == MAP_FAILED)
			die("mmap");
		map(job, size);
	}
	for (int i = 1; i < job->k; i++)
		if (shares(job))
			pids[i] = process_start(other, job);
		else
			thread_start(other, job);
	wait_until(&job->meeting->ready, (uint32_t)job->k - 1);
	if (job->running)
		let_run(job);
	/* Not before: a child would have inherited it. */
	if (shares(job))
		attach(job);
	/* The code itself is a fault the first time. */
	warm = *job;
	warm.round = -1;
	changes(&warm, PAGE);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++)
		if (lengths[i] <= job->most)
			changes(job, lengths[i]);
	add_one(&job->meeting->go);
	for (int i = 1; i < job->k && shares(job); i++)
		process_kill(pids[i]);
	return NULL;
}

int main(int argc, char **argv)
{
	int rounds = argc > 4 ? atoi(argv[1]) : 0;
	struct job job = {0};

	for (int i = 4; i < argc; i++)
		if (atoi(argv[i]) < 1 || atoi(argv[i]) > MOST)
			rounds = 0;
	if (rounds < 1) {
		fprintf(stderr, "usage: spread ROUNDS MOST_PAGES idle|running K...\n");
		return 2;
	}
	job.most = (size_t)atoi(argv[2]) * PAGE;
	job.running = !strcmp(argv[3], "running");
	job.processors = (int)sysconf(_SC_NPROCESSORS_ONLN);
	if (job.running && job.processors == 1) {
		fprintf(stderr, "spread: others can only run on other processors\n");
		return 2;
	}
	enter_cgroup();
	for (job.round = -1; job.round < rounds; job.round++)
		for (int i = 4; i < argc; i++)
			for (int contender = 0; contender < CONTENDERS; contender++) {
				job.contender = (enum contender)contender;
				if (job.processors > 1 && contender != OURS &&
				    contender != OURS_IOCTL && contender != THREADS)
					continue;
				job.k = atoi(argv[i]);
				process_wait(process_start(contend, &job));
			}
	return 0;
}
