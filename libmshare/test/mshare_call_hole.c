/* SPDX-License-Identifier: MIT */
/*
 * mshare() of a range where the library's own thread or the kernel could put
 * something: a hole among the program's ordinary mappings. And of a large
 * reservation, of which little is accessible: that is all that takes memory.
 */
#include "map_util.h"

#define RESERVED (32 * GIB)

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");

	/* Twice: with and without the stack of an earlier thread to use again. */
	for (int i = 0; i < 2; i++) {
		/* Where mmap() goes by itself, which is where stacks of threads go. */
		char *m = mmap(NULL, 2 * GIB, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			       0);

		must(m != MAP_FAILED);
		char *a = (char *)(((uintptr_t)m + GIB - 1) & ~(GIB - 1));

		must(store(a, 4711) == 0 && munmap(a + P, GIB - P) == 0);
		check(mshare(name, a, GIB, O_RDWR | O_CREAT | O_EXCL, 0600) == 0,
		      "mshare() of a page and a hole, in the ordinary mmap area");
		check(value_at(a) == 4711 && load(a + P, NULL) == SIGSEGV,
		      "the bytes are kept, the hole is one");
		int fd = mshare_open(name, O_RDWR, 0);

		must(fd >= 0);
		check(MAPPED_IS(fd, {0, P, RW, 0}) && info_of(fd).attachments == 1,
		      "a region with that page");
		check(mshare_map(fd, GIB - P, P, RW, 0, -1, 0) == 0 && store(a + GIB - P, 1) == 0,
		      "mapped into its hole");
		check(mshare_detach(a) == 0 && mshare_unlink(name) == 0, "detach and unlink");
		close(fd);
		munmap(m, (size_t)(a - m));
		munmap(a + GIB, (size_t)(m + 2 * GIB - (a + GIB)));
	}

	/* Addresses that are free: where a region would have been. */
	int probe = region_new(NULL, RESERVED);
	char *a = (char *)(uintptr_t)info_of(probe).base;

	close(probe);
	must(mmap(a, RESERVED, PROT_NONE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) == a);
	must(mprotect(a, MIB, RW) == 0 && store(a, 4711) == 0);
	check(mshare(name, a, RESERVED, O_RDWR | O_CREAT | O_EXCL, 0600) == 0,
	      "mshare() of a large reservation");
	int fd = mshare_open(name, O_RDWR, 0);

	must(fd >= 0);
	note("%llu bytes are resident", (unsigned long long)info_of(fd).resident);
	if (on_shm())
		check(info_of(fd).resident == MIB, "takes the memory of what is accessible");
	else
		check(info_of(fd).resident == P, "takes the memory of what has contents");
	check(MAPPED_IS(fd, {0, MIB, RW, 0},
			{MIB, RESERVED - MIB, PROT_NONE, MSHARE_MAP_NORESERVE}),
	      "the rest is mapped, and allocated on first touch");
	check(value_at(a) == 4711 && load(a + MIB, NULL) == SIGSEGV,
	      "the contents are the caller's");
	check(mshare_protect(fd, RESERVED - P, P, RW) == 0 && value_at(a + RESERVED - P) == 0 &&
		      store(a + RESERVED - P, 1) == 0,
	      "made accessible, it is zeroed memory");
	check(mshare_detach(a) == 0, "detach");
	return done();
}
