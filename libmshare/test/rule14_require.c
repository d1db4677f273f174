/* SPDX-License-Identifier: MIT */
/* Rule 14: a caller may insist on shared page tables, and gets EOPNOTSUPP with the reason. */
#include "test.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	bool shared = backend().capabilities & MSHARE_CAP_SHARED_PAGE_TABLES;
	int fd = region_new(unique("region"), GIB);

	must(mshare_map(fd, 0, page(), RW, 0, -1, 0) == 0);
	if (!shared) {
		check_error(mshare_create(MSHARE_REQUIRE_SHARED_PAGE_TABLES, 0600), EOPNOTSUPP,
			    "rule 14: create");
		check(strstr(mshare_errmsg(), "page table") != NULL,
		      "rule 14: the reason is given (%s)", mshare_errmsg());
		check_error(mshare_attach(fd, NULL, RW, MSHARE_ATTACH_REQUIRE_SHARED_TABLES),
			    EOPNOTSUPP, "rule 14: attach");
		check(strstr(mshare_errmsg(), "page table") != NULL,
		      "rule 14: the reason is given (%s)", mshare_errmsg());
		check_error(mshare_attach(fd, NULL, RW,
					  MSHARE_ATTACH_REQUIRE_SHARED_TABLES |
						  MSHARE_ATTACH_ANYWHERE | MSHARE_ATTACH_REUSE),
			    EOPNOTSUPP, "rule 14: attach, with other flags");
		check_eq(info_of(fd).attachments, 0, "rule 14: nothing was attached");
		char *w = mshare_attach(fd, NULL, RW, 0);

		check(w != MAP_FAILED && mshare_detach(w) == 0,
		      "rule 14: who does not insist is attached");
		return done();
	}
	int nameless = mshare_create(MSHARE_REQUIRE_SHARED_PAGE_TABLES, 0600);

	check(nameless >= 0, "rule 14: create");
	char *w = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_REQUIRE_SHARED_TABLES);

	check(w != MAP_FAILED && store(w, 1) == 0 && mshare_detach(w) == 0, "rule 14: attach");
	return done();
}
