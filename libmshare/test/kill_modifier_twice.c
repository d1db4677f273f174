/* SPDX-License-Identifier: MIT */
/*
 * Rule 9: the one who goes on from a dead modifier's change may die itself, at
 * every point of that; and the one after.
 */
#include "kill_util.h"

int main(int argc, char **argv)
{
	static const char *const recovery[] = {"draining", "drained", "punched"};

	begin(argc, argv);
	need_test_points();
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	struct watcher watcher = watcher_start(name);

	mshare_set_timeout(30000);
	for (int op = 0; op < OPERATIONS; op++)
		for (size_t i = 0; i < 3; i++)
			for (size_t j = 0; j < 3; j++) {
				struct modifier first = {name, "MSHARE_TEST_KILL", "published", op,
							 false};
				struct modifier second = {name, "MSHARE_TEST_KILL", recovery[i],
							  PROTECT, false};
				struct modifier third = {name, "MSHARE_TEST_KILL", recovery[j],
							 PROTECT, true};
				char pages[PAGES + 1];

				contents_reset(fd);
				struct party p = party_start(modify, &first);

				must(party_await(&p) == INT64_MIN && !exited(party_end(&p), 0));
				p = party_start(modify, &second);
				bool died = party_await(&p) == INT64_MIN;

				died &= WIFSIGNALED(party_end(&p));
				p = party_start(modify, &third);
				died &= party_await(&p) == INT64_MIN;
				died &= WIFSIGNALED(party_end(&p));
				int next = mshare_map(fd, 64 * page(), page(), RW, 0, -1, 0);
				struct mshare_info info = info_of(fd);

				table_pages(fd, pages);
				check(died && next == 0 && !strcmp(pages, expected_pages(op)) &&
					      !strcmp(watcher_show(&watcher, NULL), pages) &&
					      info.resident == info.mapped &&
					      info.attachments == 1 && info.stragglers == 0,
				      "%s killed when published, the next at %s, its next at %s "
				      "(%s)",
				      operation_names[op], recovery[i], recovery[j], pages);
			}
	watcher_end(&watcher);
	check(settles(fd, 0, 0), "nobody is left");
	return done();
}
