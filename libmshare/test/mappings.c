/* SPDX-License-Identifier: MIT */
/* mshare_mappings(): merged where alike, split where not, ERANGE where they do not fit. */
#include "map_util.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	int fd = region_new(unique("region"), GIB);
	struct mshare_mapping m[4];
	size_t count = 0;

	must(mshare_map(fd, 0, 4 * P, RW, 0, -1, 0) == 0 &&
	     mshare_map(fd, 4 * P, 4 * P, RW, 0, -1, 0) == 0);
	check(MAPPED_IS(fd, {0, 8 * P, RW, 0}), "adjacent and alike: one");
	must(mshare_map(fd, 8 * P, 4 * P, RW, MSHARE_MAP_NORESERVE, -1, 0) == 0);
	check(MAPPED_IS(fd, {0, 8 * P, RW, 0}, {8 * P, 4 * P, RW, MSHARE_MAP_NORESERVE}),
	      "adjacent, other flags: two");
	must(mshare_map(fd, 12 * P, 4 * P, RW, MSHARE_MAP_POPULATE, -1, 0) == 0);
	must(mshare_map(fd, 16 * P, 4 * P, PROT_READ, 0, -1, 0) == 0);
	check(MAPPED_IS(fd, {0, 8 * P, RW, 0}, {8 * P, 4 * P, RW, MSHARE_MAP_NORESERVE},
			{12 * P, 4 * P, RW, 0}, {16 * P, 4 * P, PROT_READ, 0}),
	      "adjacent, other protection: two");
	must(mshare_protect(fd, 2 * P, P, PROT_READ) == 0);
	check(MAPPED_IS(fd, {0, 2 * P, RW, 0}, {2 * P, P, PROT_READ, 0}, {3 * P, 5 * P, RW, 0},
			{8 * P, 4 * P, RW, MSHARE_MAP_NORESERVE}, {12 * P, 4 * P, RW, 0},
			{16 * P, 4 * P, PROT_READ, 0}),
	      "protect in the middle: three");
	must(mshare_protect(fd, 2 * P, P, RW) == 0);
	must(mshare_protect(fd, 12 * P, 4 * P, PROT_READ) == 0);
	check(MAPPED_IS(fd, {0, 8 * P, RW, 0}, {8 * P, 4 * P, RW, MSHARE_MAP_NORESERVE},
			{12 * P, 8 * P, PROT_READ, 0}),
	      "alike again: merged again");
	must(mshare_protect(fd, 0, 20 * P, PROT_NONE) == 0);
	check(MAPPED_IS(fd, {0, 8 * P, PROT_NONE, 0},
			{8 * P, 4 * P, PROT_NONE, MSHARE_MAP_NORESERVE},
			{12 * P, 8 * P, PROT_NONE, 0}),
	      "protect keeps the flags");
	must(mshare_unmap(fd, 4 * P, 6 * P) == 0);
	check(MAPPED_IS(fd, {0, 4 * P, PROT_NONE, 0},
			{10 * P, 2 * P, PROT_NONE, MSHARE_MAP_NORESERVE},
			{12 * P, 8 * P, PROT_NONE, 0}),
	      "unmap across two");
	must(mshare_map(fd, 4 * P, 6 * P, PROT_NONE, 0, -1, 0) == 0);
	check(MAPPED_IS(fd, {0, 10 * P, PROT_NONE, 0},
			{10 * P, 2 * P, PROT_NONE, MSHARE_MAP_NORESERVE},
			{12 * P, 8 * P, PROT_NONE, 0}),
	      "a gap that is filled merges");
	check_eq(info_of(fd).mappings, 3, "mshare_info() counts the same");
	must(mshare_map(fd, GIB - P, P, PROT_WRITE | PROT_EXEC | PROT_READ, 0, -1, 0) == 0 ||
	     errno == EACCES);

	/* How many there are, when they do not fit. */
	uint32_t n = info_of(fd).mappings;

	count = 0;
	check_error(mshare_mappings(fd, NULL, sizeof(m[0]), &count), ERANGE,
		    "no room at all: ERANGE");
	check_eq(count, n, "and the count that is needed");
	memset(m, 0xee, sizeof(m));
	count = 2;
	check_error(mshare_mappings(fd, m, sizeof(m[0]), &count), ERANGE, "room for two: ERANGE");
	check(count == n && m[0].offset == 0xeeeeeeeeeeeeeeee, "the count, and nothing stored");
	count = n;
	check(mshare_mappings(fd, m, sizeof(m[0]), &count) == 0 && count == n, "just enough room");
	check(mshare_unmap(fd, 0, GIB) == 0, "unmap of all");
	count = 0;
	check(mshare_mappings(fd, NULL, sizeof(m[0]), &count) == 0 && count == 0,
	      "none fit in no room");

	/* Another order: from both sides inwards. */
	must(mshare_map(fd, 6 * P, P, RW, 0, -1, 0) == 0 &&
	     mshare_map(fd, 2 * P, P, RW, 0, -1, 0) == 0 &&
	     mshare_map(fd, 4 * P, P, RW, 0, -1, 0) == 0);
	check(MAPPED_IS(fd, {2 * P, P, RW, 0}, {4 * P, P, RW, 0}, {6 * P, P, RW, 0}),
	      "listed by rising offset");
	must(mshare_map(fd, 3 * P, P, RW, 0, -1, 0) == 0 &&
	     mshare_map(fd, 5 * P, P, RW, 0, -1, 0) == 0);
	check(MAPPED_IS(fd, {2 * P, 5 * P, RW, 0}), "and merged from the middle");
	return done();
}
