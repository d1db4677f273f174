// SPDX-License-Identifier: MIT
/*
 * What an attachment costs: time against the number of mappings (it should be
 * linear), and memory against the size of the window (it should be none).
 *
 *	attach [ROUNDS]
 *
 * One JSON line a round and case, as change.c's. "attach": ns of attach + detach,
 * n mappings. "window": n is the window's size in GiB; bytes of the region's file
 * and of page tables (VmPTE) that a region with one touched page takes.
 */
#include <fcntl.h>
#include <mshare.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096

static void die(const char *what)
{
	fprintf(stderr, "attach: %s: %s\n", what, mshare_errmsg());
	exit(1);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void report(const char *id, const char *contender, uint64_t n, int round, uint64_t value,
		   const char *unit)
{
	printf("{\"id\":\"%s\",\"contender\":\"%s\",\"n\":%llu,\"round\":%d,\"value\":%llu,"
	       "\"unit\":\"%s\"}\n",
	       id, contender, (unsigned long long)n, round, (unsigned long long)value, unit);
	fflush(stdout);
}

static uint64_t page_table_bytes(void)
{
	unsigned long long kib = 0;
	char line[256];
	FILE *status = fopen("/proc/self/status", "r");

	while (status && fgets(line, sizeof(line), status))
		if (sscanf(line, "VmPTE: %llu", &kib) == 1)
			break;
	if (status)
		fclose(status);
	return kib << 10;
}

static int region(uint64_t size)
{
	int fd = mshare_create(0, 0600);

	if (fd == -1 || mshare_reserve(fd, NULL, size) == -1)
		die("region");
	return fd;
}

/* `count` mappings: every other page, so that no two become one. */
static void map_many(int fd, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		if (mshare_map(fd, 2 * i * PAGE, PAGE, PROT_READ | PROT_WRITE, MSHARE_MAP_NORESERVE,
			       -1, 0) == -1)
			die("map");
}

int main(int argc, char **argv)
{
	static const uint64_t mappings[] = {1, 100, 1000, 10000};
	static const uint64_t windows[] = {1, 1024};
	int rounds = argc > 1 ? atoi(argv[1]) : 7;
	int fds[4];

	for (int i = 0; i < 4; i++) {
		fds[i] = region(mshare_alignment());
		map_many(fds[i], mappings[i]);
	}
	for (int round = 0; round < rounds; round++) {
		for (int i = 0; i < 4; i++) {
			uint64_t begin = now();
			void *at = mshare_attach(fds[i], NULL, PROT_READ | PROT_WRITE, 0);

			if (at == MAP_FAILED || mshare_detach(at) == -1)
				die("attach");
			report("attach", "shm", mappings[i], round, now() - begin,
			       "ns/attach+detach");
		}
		for (int i = 0; i < 2; i++) {
			uint64_t before = page_table_bytes();
			int fd = region(windows[i] << 30);
			volatile char *at;
			struct stat st;

			map_many(fd, 1);
			at = mshare_attach(fd, NULL, PROT_READ | PROT_WRITE, 0);
			if (at == MAP_FAILED)
				die("attach");
			at[0] = 1;
			if (fstat(fd, &st) == -1)
				die("fstat");
			report("window", "file", windows[i], round, (uint64_t)st.st_blocks * 512,
			       "bytes");
			report("window", "page tables", windows[i], round,
			       page_table_bytes() - before, "bytes");
			if (mshare_detach((void *)(uintptr_t)at) == -1)
				die("detach");
			close(fd);
		}
	}
	return 0;
}
