/* SPDX-License-Identifier: MIT */
/*
 * Rule 2: there is no hijacking of mmap() and mprotect(): calls on addresses
 * elsewhere do what they always did, and never show in a region.
 */
#include "map_util.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	int fd = region_new(unique("region"), GIB);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED && mshare_map(fd, 0, P, RW, 0, -1, 0) == 0);
	char *m = mmap(NULL, 4 * P, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(m != MAP_FAILED && (m + 4 * P <= w || m >= w + GIB),
	      "rule 2: mmap() places memory outside the window");
	check(mprotect(m, P, PROT_READ) == 0 && store(m, 1) == SIGSEGV && store(m + P, 1) == 0,
	      "rule 2: mprotect() of one's own memory is one's own");
	check(munmap(m, 4 * P) == 0 && load(m, NULL) == SIGSEGV, "rule 2: and so is munmap()");
	char *s = mmap(NULL, 4 * P, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	check(s != MAP_FAILED && (s + 4 * P <= w || s >= w + GIB),
	      "rule 2: shared anonymous memory is no region");
	check(MAPPED_IS(fd, {0, P, RW, 0}), "rule 2: the region is as it was");
	check(mmap(w + GIB - P, P, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
			      MAP_FAILED &&
		      errno == EEXIST,
	      "rule 2: the whole window is taken, holes too");
	munmap(s, 4 * P);
	check(mshare_detach(w) == 0, "detach");
	return done();
}
