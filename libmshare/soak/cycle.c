/* SPDX-License-Identifier: MIT */
/*
 * attach and detach, over and over: descriptors, threads, memory and address
 * space are in the end what they were after a warm-up.
 *
 *	cycle [CYCLES], MSHARE_SOAK_CYCLES
 */
#include "test.h"

#include <dirent.h>
#include <malloc.h>

struct usage {
	long fds, threads, rss, data, size, lines, heap, blocks, names;
};

static long entries(const char *path)
{
	DIR *dir = opendir(path);
	long n = 0;

	if (!dir)
		return -1;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static struct usage usage_now(int fd)
{
	struct usage u;
	struct stat st;
	const char *root = getenv("MSHARE_ROOT");

	/* A thread that was joined may still be on its way out of /proc. */
	for (int i = 0; i < 1000 && entries("/proc/self/task") > 3; i++)
		usleep(1000);
	must(fstat(fd, &st) == 0);
	u.fds = entries("/proc/self/fd");
	u.threads = entries("/proc/self/task") - 2;
	u.rss = status_number(getpid(), "VmRSS:");
	u.data = status_number(getpid(), "VmData:");
	u.size = status_number(getpid(), "VmSize:");
	u.lines = count_lines("/proc/self/maps");
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
	u.heap = (long)mallinfo2().uordblks;
#else
	u.heap = mallinfo().uordblks;
#endif
	u.blocks = (long)st.st_blocks;
	u.names = root ? entries(root) : 0;
	return u;
}

static void cycle(int fd, uint64_t i)
{
	static const int flags[] = {0, MSHARE_ATTACH_NOFORK, MSHARE_ATTACH_ANYWHERE,
				    MSHARE_ATTACH_REUSE};
	int how = flags[i % 4];
	char *w = mshare_attach(fd, NULL, i % 3 ? RW : PROT_READ, how), *again;

	must(w != MAP_FAILED);
	must(load(w, NULL) == 0);
	if (how == MSHARE_ATTACH_REUSE) {
		again = mshare_attach(fd, NULL, i % 3 ? RW : PROT_READ, how);
		must(again == w);
		must(mshare_detach(again) == 0);
	}
	/* Two at once. */
	if (i % 7 == 0) {
		again = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE);
		must(again != MAP_FAILED && again != w);
		must(mshare_detach(again) == 0);
	}
	/* A change by one who is attached keeps a descriptor for the next. */
	if (i % 5 == 0)
		must(mshare_map(fd, 64 * page(), page(), RW, 0, -1, 0) == 0 &&
		     mshare_unmap(fd, 64 * page(), page()) == 0);
	/* One that fails leaves nothing either. */
	if (i % 11 == 0)
		must(mshare_attach(fd, NULL, RW, 0) == MAP_FAILED && errno == EADDRINUSE);
	if (i % 100 == 0) {
		pid_t pid = fork();
		int status;

		must(pid >= 0);
		if (pid == 0)
			_exit(load(w, NULL) == (how == MSHARE_ATTACH_NOFORK ? SIGSEGV : 0) ? 0 : 1);
		must(waitpid(pid, &status, 0) == pid && exited(status, 0));
	}
	must(mshare_detach(w) == 0);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	const char *text = argc > 1 ? argv[1] : getenv("MSHARE_SOAK_CYCLES");
	uint64_t cycles = text && *text ? strtoull(text, NULL, 0) : 1000;
	int fd = region_new(unique("region"), 4 * GIB);

	must(mshare_map(fd, 0, 4 * page(), RW, 0, -1, 0) == 0);
	must(mshare_map(fd, 16 * page(), page(), PROT_READ, 0, -1, 0) == 0);
	/* Thread stacks and malloc's arenas are kept for the next thread. */
	for (uint64_t i = 0; i < 300; i++)
		cycle(fd, i);
	struct usage a = usage_now(fd);
	uint64_t begun = now_ms();

	for (uint64_t i = 0; i < cycles; i++)
		cycle(fd, i);
	note("%" PRIu64 " cycles, %" PRIu64 " ms", cycles, now_ms() - begun);
	struct usage b = usage_now(fd);

	check_eq(b.fds, a.fds, "%" PRIu64 " cycles: descriptors", cycles);
	check_eq(b.threads, a.threads, "threads");
	check_eq(b.blocks, a.blocks, "blocks of the region's file");
	check_eq(b.names, a.names, "names in the root");
	check_eq(info_of(fd).attachments, 0, "attachments");
	if (TEST_ASAN || TEST_TSAN) {
		skip("memory and address space", "the sanitizer keeps what is freed");
	} else {
		/* A thread may start before the last one has given its stack back: a few are kept.
		 */
		check(b.rss <= a.rss + 1024, "memory: VmRSS %ld kB, was %ld", b.rss, a.rss);
		check(b.data <= a.data + 2048, "memory: VmData %ld kB, was %ld", b.data, a.data);
		check(b.heap <= a.heap + 4096, "memory: malloc() %ld bytes, was %ld", b.heap,
		      a.heap);
		check(b.size <= a.size + 2048, "address space: VmSize %ld kB, was %ld", b.size,
		      a.size);
		check(b.lines <= a.lines + 8, "address space: %ld mappings, was %ld", b.lines,
		      a.lines);
	}
	return done();
}
