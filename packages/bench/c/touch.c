// SPDX-License-Identifier: MIT
/*
 * What the first touch of a page costs, in instructions of the processor. For a guest whose clock
 * counts them (npm run vm -- --icount): elsewhere the unit is ticks of the time stamp counter.
 *
 *	touch [ROUNDS]
 *
 * One JSON line a round and contender, as change.c's: memory that one process has and no page of
 * which it has touched (anonymous, a memfd, a region where the kernel has msharefs), written to
 * once in each page. "new page": there is none yet. "page that is there": there is, but not in the
 * page tables. What the loop costs by itself, over pages that have been touched, is taken off, and
 * so is the clearing of a new page: that is one instruction, of which each step is counted.
 *
 * In a cgroup of its own, for that is where programs are, and charging costs something.
 */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <mshare.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <x86intrin.h>

#define PAGE 4096
#define PAGES 16384
#define SIZE ((size_t)PAGES * PAGE)

enum kind { ANONYMOUS, MEMFD, REGION };
static const char *const names[] = {"anonymous", "memfd", "msharefs"};

static void die(const char *what)
{
	fprintf(stderr, "touch: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t touch(volatile char *at)
{
	uint64_t begin = __rdtsc();

	for (size_t i = 0; i < SIZE; i += PAGE)
		at[i] = 1;
	return __rdtsc() - begin;
}

/* As the kernel's clear_page() does it. */
static uint64_t clear_page(void)
{
	static char page[PAGE] __attribute__((aligned(PAGE)));
	unsigned int a, b = 0, c, d;
	uint64_t begin = 0;
	int erms;

	/* Enhanced REP MOVSB/STOSB */
	erms = __get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 9 & 1;
	/* Twice: the first time there is a fault in it. */
	for (int i = 0; i < 2; i++) {
		void *at = page;
		size_t n = erms ? PAGE : PAGE / 8;

		begin = __rdtsc();
		if (erms)
			__asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(0) : "memory");
		else
			__asm__ volatile("rep stosq" : "+D"(at), "+c"(n) : "a"(0) : "memory");
	}
	return __rdtsc() - begin;
}

static void report(enum kind kind, const char *page, int round, uint64_t ticks, uint64_t loop)
{
	/* The first round is for what is allocated once. */
	if (round >= 0)
		printf("{\"id\":\"B3\",\"contender\":\"%s, %s\",\"n\":%d,\"round\":%d,"
		       "\"value\":%.2f,\"unit\":\"instructions/page\"}\n",
		       names[kind], page, PAGES, round, (double)(ticks - loop) / PAGES);
}

/*
 * What is still to be done about the contender before, workqueues do now; and what the page
 * allocator keeps at hand for this processor is the same for all, for it adapts to what was asked
 * of it.
 */
static void settle(void)
{
	usleep(100000);
	for (int i = 0; i < 2; i++) {
		void *at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
				0);

		if (at == MAP_FAILED)
			die("mmap");
		touch(at);
		munmap(at, SIZE);
	}
}

static void measure(enum kind kind, int round)
{
	uint64_t ticks, loop;
	void *at;
	int fd = -1;

	settle();
	if (kind == ANONYMOUS) {
		at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	} else if (kind == MEMFD) {
		fd = memfd_create("touch", 0);
		if (fd == -1 || ftruncate(fd, SIZE) == -1)
			die("memfd");
		at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	} else {
		fd = mshare_create(MSHARE_REQUIRE_SHARED_PAGE_TABLES, 0600);
		if (fd == -1 || mshare_reserve(fd, NULL, mshare_alignment()) == -1 ||
		    mshare_map(fd, 0, SIZE, PROT_READ | PROT_WRITE, 0, -1, 0) == -1)
			die("region");
		at = mshare_attach(fd, NULL, PROT_READ | PROT_WRITE, 0);
	}
	if (at == MAP_FAILED)
		die("mmap");

	ticks = touch(at);
	loop = touch(at);
	report(kind, "new page", round, ticks, loop + PAGES * clear_page());
	if (kind != ANONYMOUS) {
		/* Of its page tables, not of the memory. */
		if (kind == REGION ? mshare_advise(fd, 0, SIZE, MADV_DONTNEED)
				   : madvise(at, SIZE, MADV_DONTNEED))
			die("advise");
		report(kind, "page that is there", round, touch(at), loop);
	}

	if (kind == REGION ? mshare_detach(at) : munmap(at, SIZE))
		die("munmap");
	if (fd != -1)
		close(fd);
}

static void enter_cgroup(void)
{
	int fd;

	if (mkdir("/sys/fs/cgroup/touch", 0755) == -1 && errno != EEXIST)
		die("cgroup");
	fd = open("/sys/fs/cgroup/touch/cgroup.procs", O_WRONLY);
	if (fd == -1 || write(fd, "0", 1) != 1)
		die("cgroup.procs");
	close(fd);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 7;
	int kinds = access("/sys/fs/mshare/mshare_info", F_OK) ? REGION : REGION + 1;

	enter_cgroup();
	for (int round = -1; round < rounds; round++)
		for (int kind = 0; kind < kinds; kind++)
			measure((enum kind)kind, round);
	return 0;
}
