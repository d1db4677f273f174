/* SPDX-License-Identifier: MIT */
/* Bad input: offsets and lengths. (Rule 2.) Nothing of these changes anything. */
#include "map_util.h"

struct range {
	size_t offset, length;
	const char *what;
};

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page(), top = ~(size_t)0;
	int fd = region_new(unique("region"), GIB);
	char *w = mshare_attach(fd, NULL, RW, 0);
	struct range bad[] = {
		{0, 0, "length 0"},
		{P, 0, "length 0 in the window"},
		{GIB, 0, "length 0 at its end"},
		{1, P, "an offset of 1"},
		{P / 2, P, "an offset in the middle of a page"},
		{0, 1, "a length of 1"},
		{0, P - 1, "a length one short"},
		{0, P + 1, "a length one over"},
		{GIB, P, "at the end of the window"},
		{GIB - P, 2 * P, "across its end"},
		{2 * GIB, P, "past its end"},
		{0, GIB + P, "longer than it"},
		{top - P + 1, P, "the last page there can be"},
		{top - P + 1, 2 * P, "an end that overflows to a small number"},
		{P, top - P + 1, "a length that overflows"},
		{top & ~(P - 1), top & ~(P - 1), "both as large as can be"},
		{(size_t)1 << 63, P, "an offset that is negative if signed"},
		{0, (size_t)1 << 63, "a length that is negative if signed"},
		{top - GIB + 1, 2 * GIB, "an end that overflows into the window"},
		{(size_t)1 << 46, P, "an offset larger than memory"},
	};

	must(w != MAP_FAILED && mshare_map(fd, 4 * P, 4 * P, RW, 0, -1, 0) == 0);
	must(mshare_map(fd, GIB - P, P, RW, 0, -1, 0) == 0 && store(w + 4 * P, 1) == 0);
	uint64_t generation = info_of(fd).generation;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		size_t o = bad[i].offset, l = bad[i].length;

		check_error(mshare_map(fd, o, l, RW, 0, -1, 0), EINVAL, "rule 2: map: %s",
			    bad[i].what);
		check_error(mshare_unmap(fd, o, l), EINVAL, "rule 2: unmap: %s", bad[i].what);
		check_error(mshare_protect(fd, o, l, PROT_READ), EINVAL, "rule 2: protect: %s",
			    bad[i].what);
		check_error(mshare_advise(fd, o, l, MADV_REMOVE), EINVAL, "rule 2: advise: %s",
			    bad[i].what);
	}
	check(info_of(fd).generation == generation &&
		      MAPPED_IS(fd, {4 * P, 4 * P, RW, 0}, {GIB - P, P, RW, 0}) &&
		      value_at(w + 4 * P) == 1,
	      "rule 2: nothing of these changed anything");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
