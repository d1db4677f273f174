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
#include "guest.h"
#include <cpuid.h>

#define PAGES ((size_t)16384)
#define SIZE (PAGES * PAGE)

enum { ANONYMOUS = KINDS };

static const char *const names[] = {
	[ANONYMOUS] = "anonymous",
	[MEMFD] = "memfd",
	[REGION] = "msharefs",
};

static uint64_t touch(volatile char *at)
{
	uint64_t begin = __rdtsc();

	write_pages(at, SIZE);
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

/*
 * What is still to be done about the contender before, workqueues do now; and what the page
 * allocator keeps at hand for this processor is the same for all, for it adapts to what was asked
 * of it.
 */
static void settle(void)
{
	usleep(100000);
	for (int i = 0; i < 2; i++) {
		void *at = mmap(NULL, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (at == MAP_FAILED)
			die("mmap");
		touch(at);
		munmap(at, SIZE);
	}
}

static void measure(int kind, int round)
{
	struct memory memory = {.fd = -1};
	volatile char *at;
	uint64_t ticks, loop;

	settle();
	if (kind == ANONYMOUS) {
		at = mmap(NULL, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (at == MAP_FAILED)
			die("mmap");
	} else {
		memory = memory_make((enum kind)kind, SIZE);
		at = memory_map(&memory);
	}

	ticks = touch(at);
	loop = touch(at);
	report("B3", PAGES, round, (double)(ticks - loop - PAGES * clear_page()) / PAGES,
	       "instructions/page", "%s, new page", names[kind]);
	if (kind == ANONYMOUS) {
		munmap((void *)at, SIZE);
		return;
	}
	/* Of its page tables, not of the memory. */
	if (kind == REGION ? mshare_advise(memory.fd, 0, SIZE, MADV_DONTNEED)
			   : madvise((void *)at, SIZE, MADV_DONTNEED))
		die("advise");
	mark("%s, page that is there", names[kind]);
	ticks = touch(at);
	mark(NULL);
	report("B3", PAGES, round, (double)(ticks - loop) / PAGES, "instructions/page",
	       "%s, page that is there", names[kind]);
	memory_unmap(&memory, at);
	close(memory.fd);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 7;
	int has_regions = !access("/sys/fs/mshare/mshare_info", F_OK);

	enter_cgroup();
	for (int round = -1; round < rounds; round++) {
		measure(ANONYMOUS, round);
		measure(MEMFD, round);
		if (has_regions)
			measure(REGION, round);
	}
	return 0;
}
