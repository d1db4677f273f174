/* SPDX-License-Identifier: MIT */
/* Rule 4: attach at NULL is at the region's base, in every process. */
#include "test.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	char *base = (char *)(uintptr_t)info_of(fd).base;

	must(mshare_map(fd, 0, 4 * P, RW, 0, -1, 0) == 0);
	char *w = mshare_attach(fd, NULL, RW, 0);

	check(w == base, "rule 4: attach(NULL) is at the base (%p)", (void *)base);
	struct peer p[3] = {peer_fork(), peer_exec(), peer_unrelated()};
	static const char *kind[3] = {"forked", "exec'd", "unrelated"};

	/* A pointer into the region, stored in the region. */
	*(char **)(w + P) = w + 2 * P + 8;
	must(store(w + 2 * P + 8, 4711) == 0);
	for (int i = 0; i < 3; i++) {
		int there = p_open(&p[i], name, O_RDWR, 0);

		if (i == 0)
			must(p_detach(&p[i], w) == 0);
		check(p_attach(&p[i], there, NULL, RW, 0) == (void *)base,
		      "rule 4: the same address in a process that is %s", kind[i]);
		uint64_t pointer = 0, v = 0;

		check(p_load(&p[i], base + P, &pointer) == 0 &&
			      p_load(&p[i], (void *)pointer, &v) == 0 && v == 4711,
		      "rule 4: a pointer means the same in it");
	}
	check(mshare_detach(w) == 0 && mshare_attach(fd, NULL, RW, 0) == base,
	      "rule 4: attached again: the same address again");
	check(mshare_detach(base) == 0, "detach");

	/* The base belongs to the region, not to who reserved it. */
	const char *other = unique("other");
	int there = p_open(&p[1], other, O_RDWR | O_CREAT | O_EXCL, 0600);

	must(there >= 0 && p_reserve(&p[1], there, NULL, GIB) == 0);
	int here = mshare_open(other, O_RDWR, 0);
	void *second = (void *)(uintptr_t)info_of(here).base;

	check(p_attach(&p[1], there, NULL, RW, 0) == second &&
		      mshare_attach(here, NULL, RW, 0) == second,
	      "rule 4: so too for a region that another process made");
	check(mshare_detach(second) == 0, "detach");
	for (int i = 0; i < 3; i++)
		check(p_end(&p[i]), "the peer that is %s ended well", kind[i]);
	return done();
}
