/* SPDX-License-Identifier: MIT */
/*
 * Rule 4: a base that the library chooses is aligned, inside the arena, free in
 * this process, and no other region's of the same root; so that a process can
 * attach all of them.
 */
#include "test.h"

#define REGIONS 40

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t unit = mshare_alignment();
	const char *arena = getenv("MSHARE_TEST_ARENA");
	uint64_t low = 0x400000000000, high = 0x540000000000, base[REGIONS], size[REGIONS];
	int fd[REGIONS], outside = 0, overlaps = 0, attached = 0;

	if (arena)
		must(sscanf(arena, "%" SCNx64 "-%" SCNx64, &low, &high) == 2);
	must(mshare_mkdir(unique("directory"), 0700) == 0);
	for (int i = 0; i < REGIONS; i++) {
		char label[256];

		/* Some of them in a directory, some as large as several slots, some unnamed. */
		size[i] = (1 + (size_t)i % 4) * unit;
		if (i % 4 == 3) {
			snprintf(label, sizeof(label), "%s/%d", tap.names[0], i);
			fd[i] = region_new(label, size[i]);
		} else {
			snprintf(label, sizeof(label), "r%d", i);
			fd[i] = region_new(unique(label), size[i]);
		}
		base[i] = info_of(fd[i]).base;
		if (base[i] % unit || base[i] < low || base[i] + size[i] > high)
			outside++;
		for (int j = 0; j < i; j++)
			if (base[i] < base[j] + size[j] && base[j] < base[i] + size[i])
				overlaps++;
	}
	check_eq(outside, 0, "rule 4: %d chosen bases are in the arena %#" PRIx64 "-%#" PRIx64,
		 REGIONS, low, high);
	check_eq(overlaps, 0, "rule 4: and no two windows overlap");
	for (int i = 0; i < REGIONS; i++)
		if (mshare_attach(fd[i], NULL, RW, 0) == (void *)base[i])
			attached++;
	check_eq(attached, REGIONS, "rule 4: one process attaches all of them at their bases");
	int differ = 0;

	for (int i = 1; i < REGIONS; i++)
		differ += base[i] != base[i - 1] + size[i - 1];
	check(differ > REGIONS / 2, "rule 4: they are spread: a guess would miss");
	for (int i = 0; i < REGIONS; i++)
		must(mshare_detach((void *)base[i]) == 0);

	/* Two bases that are the same: allowed, but not together in one process. */
	int twin = region_new(unique("twin"), 0);

	check(mshare_reserve(twin, (void *)base[0], unit) == 0,
	      "rule 4: an explicit base may be another region's");
	check(mshare_attach(fd[0], NULL, RW, 0) == (void *)base[0], "rule 4: one of them attached");
	check_error(mshare_attach(twin, NULL, RW, 0), EADDRINUSE, "rule 4: the other is refused");
	struct peer p = peer_unrelated();
	int there = p_open(&p, tap.names[tap.named - 1], O_RDWR, 0);

	check(p_attach(&p, there, NULL, RW, 0) == (void *)base[0],
	      "rule 4: and attached in another process");
	check(p_end(&p) && mshare_detach((void *)base[0]) == 0, "done");
	for (int i = 3; i < REGIONS; i += 4) {
		char label[256];

		snprintf(label, sizeof(label), "%s/%d", tap.names[0], i);
		must(mshare_unlink(label) == 0);
	}
	return done();
}
