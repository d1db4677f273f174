/* SPDX-License-Identifier: MIT */
/* mshare_advise(): for all attachers, over what is mapped. (Rules 2 and 12.) */
#include "test.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	char *w = mshare_attach(fd, NULL, RW, 0);
	struct peer p = peer_unrelated();
	int there = p_open(&p, name, O_RDWR, 0);

	must(w != MAP_FAILED && p_attach(&p, there, NULL, RW, 0) == w);
	must(mshare_map(fd, 0, 64 * P, RW, 0, -1, 0) == 0);
	for (size_t i = 0; i < 64; i++)
		must(store(w + i * P, i + 1) == 0);

	static const int mild[] = {MADV_NORMAL, MADV_WILLNEED, MADV_DONTNEED};

	for (int i = 0; i < 3; i++) {
		bool kept = true;
		uint64_t v = 0;

		check(mshare_advise(fd, 0, 64 * P, mild[i]) == 0, "advice %d is taken", mild[i]);
		for (size_t k = 0; k < 64; k++)
			kept = kept && value_at(w + k * P) == k + 1 &&
			       p_load(&p, w + k * P, &v) == 0 && v == k + 1;
		check(kept, "the contents are kept (%d)", mild[i]);
	}
	uint64_t before = info_of(fd).resident, v = 1;

	check(mshare_advise(fd, 8 * P, 8 * P, MADV_REMOVE) == 0, "MADV_REMOVE");
	check(info_of(fd).resident + 8 * P <= before, "rule 12: the memory is free");
	check(value_at(w + 8 * P) == 0 && p_load(&p, w + 15 * P, &v) == 0 && v == 0,
	      "it reads as zero, for everybody");
	check(value_at(w + 7 * P) == 8 && value_at(w + 16 * P) == 17,
	      "the pages beside it are kept");
	check(p_store(&p, w + 9 * P, 5) == 0 && value_at(w + 9 * P) == 5,
	      "and it can be written again");
	check(info_of(fd).mapped == 64 * P && info_of(fd).mappings == 1, "it is mapped still");

	must(mshare_map(fd, GIB / 2, 16 * P, RW, MSHARE_MAP_NORESERVE, -1, 0) == 0);
	before = info_of(fd).resident;
	check(mshare_advise(fd, GIB / 2, 8 * P, 23 /* MADV_POPULATE_WRITE */) == 0 &&
		      info_of(fd).resident >= before + 8 * P,
	      "rule 12: MADV_POPULATE_WRITE allocates");
	check(mshare_advise(fd, GIB / 2 + 8 * P, 8 * P, 22 /* MADV_POPULATE_READ */) == 0,
	      "rule 12: MADV_POPULATE_READ");
	check(value_at(w + GIB / 2) == 0, "what it allocates is zero");
	check(mshare_advise(fd, 0, P, 23) == 0 && value_at(w) == 1,
	      "MADV_POPULATE_WRITE keeps what is there");

	check_error(mshare_advise(fd, 64 * P, P, MADV_NORMAL), ENOMEM, "over a hole");
	check_error(mshare_advise(fd, 60 * P, 8 * P, MADV_REMOVE), ENOMEM, "over mapping and hole");
	check_eq(value_at(w + 63 * P), 64, "rule 2: all or nothing");
	check_error(mshare_advise(fd, 0, P, 12345), EINVAL, "unknown advice");
	check_error(mshare_advise(fd, 0, P, -1), EINVAL, "negative advice");
	check_error(mshare_advise(fd, 0, 0, MADV_NORMAL), EINVAL, "length 0");
	check_error(mshare_advise(fd, 1, P, MADV_NORMAL), EINVAL, "an unaligned offset");
	check_error(mshare_advise(fd, 0, 1, MADV_NORMAL), EINVAL, "an unaligned length");
	check_error(mshare_advise(fd, GIB, P, MADV_NORMAL), EINVAL, "past the window");
	if (on_shm()) {
		check_error(mshare_advise(fd, 0, P, MADV_HUGEPAGE), EOPNOTSUPP,
			    "advice about page tables: not on shm, and it says so");
		check_error(mshare_advise(fd, 0, P, MADV_COLD), EOPNOTSUPP, "nor this");
		check_error(mshare_advise(fd, 0, P, MADV_SEQUENTIAL), EOPNOTSUPP, "nor this");
	} else {
		static const int about_tables[] = {MADV_HUGEPAGE,   MADV_NOHUGEPAGE, MADV_RANDOM,
						   MADV_SEQUENTIAL, MADV_NORMAL,     MADV_COLD,
						   MADV_PAGEOUT,    MADV_NORMAL};

		for (size_t i = 0; i < sizeof(about_tables) / sizeof(about_tables[0]); i++)
			check(mshare_advise(fd, 0, 8 * P, about_tables[i]) == 0 && value_at(w) == 1,
			      "advice %d about the shared page tables is taken", about_tables[i]);
		check_error(mshare_advise(fd, 0, P, MADV_MERGEABLE), EOPNOTSUPP,
			    "advice about private memory, and it says so");
	}
	check_error(mshare_advise(fd, 0, P, MADV_DONTFORK), EINVAL,
		    "advice about a process's own view");
	int ro = mshare_open(name, O_RDONLY, 0);

	check_error(mshare_advise(ro, 0, P, MADV_NORMAL), EACCES, "rule 6: read-only descriptor");
	check_error(mshare_advise(ro, 0, P, MADV_REMOVE), EACCES, "rule 6: and MADV_REMOVE");
	check_eq(value_at(w), 1, "rule 6: which removed nothing");
	check(p_end(&p), "the peer ended well");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
