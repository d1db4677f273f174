// SPDX-License-Identifier: MIT
/*
 * B11: what pairs.ts does through FFI drivers, in C: map and unmap of one page of a region that
 * nobody is attached to, and a call that does next to nothing.
 *
 *	pairs PAIRS CALLS
 *
 * Two JSON lines, as change.c's.
 */
#include <mshare.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE 4096

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void pairs(int fd, int count)
{
	for (int i = 0; i < count; i++)
		if (mshare_map(fd, 0, PAGE, PROT_READ | PROT_WRITE, MSHARE_MAP_NORESERVE, -1, 0) ||
		    mshare_unmap(fd, 0, PAGE)) {
			fprintf(stderr, "pairs: %s\n", mshare_errmsg());
			exit(1);
		}
}

static void report(const char *what, double value, const char *unit)
{
	printf("{\"id\":\"B11\",\"contender\":\"C, %s\",\"n\":1,\"round\":0,\"value\":%.2f,"
	       "\"unit\":\"%s\"}\n",
	       what, value, unit);
}

int main(int argc, char **argv)
{
	int count = argc > 2 ? atoi(argv[1]) : 0, calls = argc > 2 ? atoi(argv[2]) : 0;
	int fd = mshare_create(0, 0600);
	double begin;

	if (count < 1 || calls < 1) {
		fprintf(stderr, "usage: pairs PAIRS CALLS\n");
		return 2;
	}
	if (fd == -1 || mshare_reserve(fd, NULL, mshare_alignment())) {
		fprintf(stderr, "pairs: %s\n", mshare_errmsg());
		return 1;
	}
	pairs(fd, count);
	begin = now();
	pairs(fd, count);
	report("map and unmap", (now() - begin) / count, "ns/pair");
	begin = now();
	for (int i = 0; i < calls; i++)
		(void)mshare_errno();
	report("call", (now() - begin) / calls, "ns/call");
	return 0;
}
