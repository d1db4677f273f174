/* SPDX-License-Identifier: MIT */
/*
 * Rule 3: processes attach and detach while another one changes. Whoever
 * has attached sees at least what was done before, and misses nothing after: page
 * n is mapped before the count in page 0 says n, and unmapped before the other
 * count does.
 */
#include "party_util.h"

#define CHANGES (TEST_ASAN || TEST_TSAN ? 60 : 250)
#define ATTACHERS 4

static const char *name;

/* Page 0. */
struct counts {
	_Atomic uint64_t mapped, unmapped, end;
};

static int attacher(void *arg)
{
	bool reader = arg != NULL;
	size_t P = page();
	int fd = mshare_open(name, reader ? O_RDONLY : O_RDWR, 0);
	uint64_t rounds = 0, end = 0;

	must(fd >= 0);
	probe_prepare();
	mshare_set_timeout(60000);
	while (!end) {
		char *w = mshare_attach(fd, NULL, reader ? PROT_READ : RW, 0);

		if (w == MAP_FAILED) {
			note("attacher: %s", mshare_errmsg());
			return 1;
		}
		const struct counts *counts = (const struct counts *)w;

		for (int looks = 0; looks < 3; looks++) {
			/* In this order: what is unmapped later was mapped when we looked. */
			uint64_t unmapped = counts->unmapped, mapped = counts->mapped;

			end = counts->end;
			if (mapped && !unmapped && load(w + mapped * P, NULL) != 0 &&
			    !counts->unmapped) {
				note("page %" PRIu64 " is not there yet", mapped);
				return 1;
			}
			if (unmapped && load(w + unmapped * P, NULL) != SIGSEGV) {
				note("page %" PRIu64 " is still there", unmapped);
				return 1;
			}
		}
		if (mshare_detach(w) != 0)
			return 1;
		rounds++;
	}
	return rounds > 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	struct party parties[ATTACHERS];
	size_t P = page();
	bool good = true;

	name = unique("region");
	int fd = region_new(name, GIB);

	must(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0);
	mshare_set_timeout(60000);
	/* Half of them are readers, who are waited for like anybody. */
	for (int i = 0; i < ATTACHERS; i++)
		parties[i] = party_start(attacher, i % 2 ? &parties : NULL);
	struct counts *counts = mshare_attach(fd, NULL, RW, 0);

	must(counts != MAP_FAILED);
	for (uint64_t i = 1; i <= CHANGES && good; i++) {
		good &= mshare_map(fd, i * P, P, i % 2 ? RW : PROT_READ, 0, -1, 0) == 0;
		counts->mapped = i;
	}
	for (uint64_t i = 1; i <= CHANGES && good; i++) {
		good &= mshare_unmap(fd, i * P, P) == 0;
		counts->unmapped = i;
	}
	check(good, "%d changes while %d processes attach and detach", 2 * CHANGES, ATTACHERS);
	counts->end = 1;
	for (int i = 0; i < ATTACHERS; i++)
		check(exited(party_end(&parties[i]), 0), "attacher %d missed nothing", i);
	check(settles(fd, 1, 0), "nobody is left");
	struct mshare_info info = info_of(fd);

	check(info.mapped == P && info.resident == P, "nor any memory");
	check(mshare_detach(counts) == 0, "detach");
	return done();
}
