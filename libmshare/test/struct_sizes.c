/* SPDX-License-Identifier: MIT */
/*
 * Structs come with their size, so that they can grow: smaller ones are filled
 * as far as they go, larger ones are zero in what the library does not know.
 */
#include "test.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	int fd = region_new(unique("region"), GIB);
	struct {
		struct mshare_info info;
		unsigned char more[64];
	} big;
	struct mshare_info whole;

	check_eq(sizeof(struct mshare_info), 72,
		 "struct mshare_info is what the first release has");
	check_eq(sizeof(struct mshare_mapping), 24, "struct mshare_mapping too");
	must(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0 &&
	     mshare_map(fd, 4 * P, P, PROT_READ, 0, -1, 0) == 0);
	whole = info_of(fd);

	bool good = true;

	for (size_t size = 8; size <= sizeof(whole); size += 4) {
		memset(&big, 0xee, sizeof(big));
		good = good && mshare_info(fd, &big.info, size) == 0 &&
		       !memcmp(&big.info, &whole, size);
		for (size_t i = size; i < sizeof(big); i++)
			good = good && ((unsigned char *)&big)[i] == 0xee;
	}
	check(good, "a smaller struct mshare_info is filled as far as it goes and no further");
	memset(&big, 0xee, sizeof(big));
	good = mshare_info(fd, &big.info, sizeof(big.info) + 32) == 0 &&
	       !memcmp(&big.info, &whole, sizeof(whole));
	for (size_t i = 0; i < sizeof(big.more); i++)
		good = good && big.more[i] == (i < 32 ? 0 : 0xee);
	check(good, "a larger one is zero in what is not known");
	check_error(mshare_info(fd, &whole, 0), EINVAL, "size 0");
	check_error(mshare_info(fd, &whole, 4), EINVAL, "size 4");
	check_error(mshare_info(fd, NULL, sizeof(whole)), EINVAL, "no struct");

	struct {
		struct mshare_mapping m;
		uint64_t more;
	} wide[3];
	size_t count = 3;

	memset(wide, 0xee, sizeof(wide));
	check(mshare_mappings(fd, &wide[0].m, sizeof(wide[0]), &count) == 0 && count == 2 &&
		      wide[0].m.offset == 0 && wide[0].m.length == P && wide[0].m.prot == RW &&
		      wide[0].more == 0 && wide[1].m.offset == 4 * P &&
		      wide[1].m.prot == PROT_READ && wide[1].more == 0,
	      "larger entries of mshare_mappings()");
	check_eq(wide[2].more, 0xeeeeeeeeeeeeeeee, "no more entries than there are are written");
	uint64_t narrow[3][2];

	memset(narrow, 0xee, sizeof(narrow));
	count = 3;
	check(mshare_mappings(fd, (struct mshare_mapping *)(void *)narrow, sizeof(narrow[0]),
			      &count) == 0 &&
		      count == 2 && narrow[0][0] == 0 && narrow[0][1] == P &&
		      narrow[1][0] == 4 * P && narrow[1][1] == P &&
		      narrow[2][0] == 0xeeeeeeeeeeeeeeee,
	      "smaller entries");
	count = 3;
	check_error(mshare_mappings(fd, &wide[0].m, 0, &count), EINVAL, "entries of size 0");
	check_error(mshare_mappings(fd, &wide[0].m, sizeof(wide[0].m), NULL), EINVAL, "no count");
	count = 3;
	check_error(mshare_mappings(fd, NULL, sizeof(wide[0].m), &count), EINVAL,
		    "room for three at NULL");
	return done();
}
