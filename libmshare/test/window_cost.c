/* SPDX-License-Identifier: MIT */
/* Rule 1: a window is a reservation: 1 TiB costs no more memory than 1 GiB. */
#include "test.h"

/*
 * Under ThreadSanitizer the arena is 448 GiB (test/run), and the small window may be
 * in the midst of it: what is left on its larger side is all that is sure.
 */
#define LARGE (TEST_TSAN ? 128 * GIB : TIB)

struct cost {
	long blocks, pte, rss, threads;
};

static struct cost cost_of(size_t size)
{
	struct cost c;
	struct stat st;
	struct peer p = peer_unrelated();
	const char *name = unique(size == GIB ? "small" : "large");
	int there = p_open(&p, name, O_RDWR | O_CREAT | O_EXCL, 0600);
	int fd = mshare_open(name, O_RDWR, 0);

	must(fd >= 0);
	/* What the first call of anything costs is not the window's. */
	p_load(&p, &c, NULL);
	long pte = status_number(p.pid, "VmPTE:"), rss = status_number(p.pid, "VmRSS:"),
	     threads = status_number(p.pid, "Threads:");

	must(p_reserve(&p, there, NULL, size) == 0);
	char *w = p_attach(&p, there, NULL, RW, 0);

	must(w != MAP_FAILED);
	c.pte = status_number(p.pid, "VmPTE:") - pte;
	c.rss = status_number(p.pid, "VmRSS:") - rss;
	c.threads = status_number(p.pid, "Threads:") - threads;
	must(fstat(fd, &st) == 0);
	c.blocks = (long)st.st_blocks;
	note("%zu GiB: %ld blocks, VmPTE %+ld kB, VmRSS %+ld kB, %+ld threads", size / GIB,
	     c.blocks, c.pte, c.rss, c.threads);
	/* Both ends work. */
	must(p_map(&p, there, 0, page(), RW, 0) == 0);
	must(p_map(&p, there, size - page(), page(), RW, 0) == 0);
	check(p_store(&p, w, 1) == 0 && p_store(&p, w + size - page(), 2) == 0,
	      "rule 1: %zu GiB: both ends of the window can be used", size / GIB);
	must(fstat(fd, &st) == 0);
	check((long)st.st_blocks - c.blocks <= (long)(2 * page() / 512),
	      "rule 1: %zu GiB: what is mapped is what is paid for", size / GIB);
	must(p_end(&p));
	close(fd);
	return c;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	struct cost small = cost_of(GIB), large = cost_of(LARGE);

	check_eq(large.blocks, small.blocks, "rule 1: the region's file takes as many blocks");
	/* A sanitizer's shadow has page tables too, by where things are. */
	check(large.pte <= small.pte + (TEST_ASAN || TEST_TSAN ? 128 : 16),
	      "rule 1: the attacher's page tables are no larger");
	check(large.rss <= small.rss + 512, "rule 1: nor is its resident memory");
	check_eq(large.threads, small.threads, "rule 1: nor has it more threads");
	return done();
}
