/* SPDX-License-Identifier: MIT */
/* Comparing a region's mappings with what they should be. */
#ifndef MSHARE_TEST_MAP_UTIL_H
#define MSHARE_TEST_MAP_UTIL_H

#include "test.h"

#define NONE UINT32_MAX /* no mapping here */

struct expected {
	size_t offset, length;
	int prot;
	uint32_t flags;
};

/* Whether the region's mappings are just these. */
static inline bool mapped_is(int fd, const struct expected *want, size_t n)
{
	struct mshare_mapping got[256];
	size_t count = 256;

	if (mshare_mappings(fd, got, sizeof(got[0]), &count) != 0)
		return false;
	bool good = count == n;

	for (size_t i = 0; good && i < n; i++)
		good = got[i].offset == want[i].offset && got[i].length == want[i].length &&
		       got[i].prot == (uint32_t)want[i].prot && got[i].flags == want[i].flags;
	if (!good) {
		for (size_t i = 0; i < count; i++)
			note("  is:     %#" PRIx64 "+%#" PRIx64 " prot %u flags %u", got[i].offset,
			     got[i].length, got[i].prot, got[i].flags);
		for (size_t i = 0; i < n; i++)
			note("  wanted: %#zx+%#zx prot %d flags %u", want[i].offset, want[i].length,
			     want[i].prot, want[i].flags);
	}
	return good;
}

#define MAPPED_IS(fd, ...)                                                                         \
	mapped_is(fd, (const struct expected[]){__VA_ARGS__},                                      \
		  sizeof((const struct expected[]){__VA_ARGS__}) / sizeof(struct expected))

#endif
