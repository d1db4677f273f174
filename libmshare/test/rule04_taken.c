/* SPDX-License-Identifier: MIT */
/*
 * Rule 4: if the process uses those addresses already: EADDRINUSE, or another
 * aligned address if it asked for ANYWHERE. Nothing is ever silently replaced.
 */
#include "test.h"

static int attachments(int fd)
{
	return (int)info_of(fd).attachments;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page(), unit = mshare_alignment();
	const char *name = unique("region");
	int fd = region_new(name, 2 * unit);
	char *base = (char *)(uintptr_t)info_of(fd).base;
	/* Something in the first page, in the middle, in the last page of the window. */
	size_t places[3] = {0, unit + 16 * P, 2 * unit - P};
	static const char *where[3] = {"first page", "middle", "last page"};

	must(mshare_map(fd, 0, 4 * P, RW, 0, -1, 0) == 0);
	for (int i = 0; i < 3; i++) {
		char *mine = base + places[i];

		must(mmap(mine, P, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
		     mine);
		must(store(mine, 77) == 0);
		check_error(mshare_attach(fd, NULL, RW, 0), EADDRINUSE,
			    "rule 4: attach(NULL), the %s is taken", where[i]);
		check_error(mshare_attach(fd, base, RW, 0), EADDRINUSE,
			    "rule 4: attach(base), the %s is taken", where[i]);
		check(value_at(mine) == 77 && store(mine, 77) == 0,
		      "rule 4: what was there is there still");
		check_eq(attachments(fd), 0, "rule 4: and nothing is attached");

		char *w = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE);

		check(w != MAP_FAILED && w != base && (uintptr_t)w % unit == 0,
		      "rule 4: ANYWHERE: another aligned address (%p)", (void *)w);
		check(w + 2 * unit <= mine || w > mine, "rule 4: clear of what was there");
		check(store(w + 8, 5) == 0 && value_at(mine) == 77, "rule 4: and it works");
		check_eq(attachments(fd), 1, "rule 4: attached once");
		check(mshare_detach(w) == 0, "detach");
		munmap(mine, P);
	}
	char *w = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE);

	check(w == base, "rule 4: ANYWHERE gives the base if that is free");

	/* Attached already, the base is taken: by the region itself. */
	check_error(mshare_attach(fd, NULL, RW, 0), EADDRINUSE, "rule 4: attached there already");
	char *again = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE);

	check(again != MAP_FAILED && again != w && store(w + 16, 6) == 0 &&
		      value_at(again + 16) == 6,
	      "rule 4: a second view of the same region, elsewhere");
	must(mshare_map(fd, 8 * P, P, RW, 0, -1, 0) == 0);
	check(store(again + 8 * P, 7) == 0 && value_at(w + 8 * P) == 7,
	      "rule 4: a change reaches both views");

	/* Inaccessible memory is in use as well. */
	check(mshare_detach(w) == 0 && mshare_detach(again) == 0, "detach");
	must(mmap(base + unit, unit, PROT_NONE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
		  0) == base + unit);
	check_error(mshare_attach(fd, NULL, RW, 0), EADDRINUSE,
		    "rule 4: a PROT_NONE reservation takes addresses too");
	check(mprotect(base + unit, P, RW) == 0 && store(base + unit, 9) == 0,
	      "rule 4: and it is there still");
	munmap(base + unit, unit);
	check(mshare_attach(fd, NULL, RW, 0) == base, "rule 4: free again, attached at the base");
	check(mshare_detach(base) == 0, "detach");
	return done();
}
