/* SPDX-License-Identifier: MIT */
/* Bad input: sizes and bases of windows. (Rule 1.) */
#include "test.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t unit = mshare_alignment(), P = page();
	int fd = region_new(unique("region"), 0), nameless = region_new(NULL, 0);
	int fds[2] = {fd, nameless};
	size_t sizes[] = {0,
			  1,
			  P,
			  unit - 1,
			  unit + 1,
			  unit - P,
			  unit + P,
			  unit / 2,
			  ~(size_t)0,
			  ~(size_t)0 - unit + 1,
			  (size_t)1 << 63,
			  (size_t)1 << 62,
			  TOP,
			  TOP + unit,
			  (size_t)1 << 56};
	uintptr_t bases[] = {1,
			     P,
			     unit / 2,
			     unit + P,
			     unit - 1,
			     TOP,
			     TOP - unit,
			     (uintptr_t)1 << 63,
			     ~(uintptr_t)0 - unit + 1,
			     ~(uintptr_t)0};

	for (int k = 0; k < 2; k++) {
		const char *kind = k ? "unnamed" : "named";

		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			check_error(mshare_reserve(fds[k], NULL, sizes[i]), EINVAL,
				    "rule 1: %s: a window of %#zx bytes", kind, sizes[i]);
		for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++)
			check_error(mshare_reserve(fds[k], (void *)bases[i], unit), EINVAL,
				    "rule 1: %s: a base at %#" PRIxPTR, kind, bases[i]);
		check_error(mshare_reserve(fds[k], (void *)(64 * unit), TOP - 32 * unit), EINVAL,
			    "rule 1: %s: a window that ends past all addresses", kind);
		check(info_of(fds[k]).window == 0, "rule 1: %s: there is no window", kind);
		check_error(mshare_attach(fds[k], NULL, RW, 0), ENODATA,
			    "rule 1: %s: nor an attachment", kind);
	}

	/* As large as can be chosen: huge, and then it is attached, if there is room. */
	check(mshare_reserve(fd, NULL, TEST_TSAN ? 128 * GIB : 4 * TIB) == 0,
	      "rule 1: a window of 4 TiB");
	char *w = mshare_attach(fd, NULL, RW, 0);

	check(w != MAP_FAILED, "rule 1: attached");
	check(mshare_reserve(nameless, NULL, unit) == 0, "rule 1: a window of one unit");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
