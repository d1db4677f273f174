/* SPDX-License-Identifier: MIT */
/*
 * The test points failing: before it is published a change that fails changes
 * nothing and keeps no memory; after that the next one finishes it. An attacher
 * that cannot follow gives up its window and says why; one that cannot join has
 * nothing left of it.
 */
#include "kill_util.h"

int main(int argc, char **argv)
{
	static const char *const following[] = {"apply-before", "apply-mid", "apply-after",
						"row-locked", "row-unlocked"};
	static const char *const joining[] = {"join-locked", "join-view", "join-row"};
	char pages[PAGES + 1], value[64];
	struct mshare_info info;

	begin(argc, argv);
	need_test_points();
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	struct watcher watcher = watcher_start(name);

	mshare_set_timeout(30000);
	for (int op = 0; op < OPERATIONS; op++)
		for (size_t i = 0; i < MODIFIER_POINTS; i++) {
			const char *point = modifier_points[i];
			const char *want = expected_pages(before_publishing(point) ? OPERATIONS
										   : op);

			if (!passes(op, point))
				continue;
			contents_reset(fd);
			snprintf(value, sizeof(value), "%s=%d", point, EIO);
			must(setenv("MSHARE_TEST_FAIL", value, 1) == 0);
			errno = 0;
			bool good = operate(fd, op) == -1 && errno == EIO && mshare_errno() == EIO;

			unsetenv("MSHARE_TEST_FAIL");
			if (!good)
				note("errno %d, %s", errno, mshare_errmsg());
			info = info_of(fd);
			/* Nothing is kept of what nobody was told of. */
			if (before_publishing(point))
				good &= info.resident == info.mapped;
			table_pages(fd, pages);
			good &= !strcmp(pages, want) && settles(fd, 1, 0) &&
				!strcmp(watcher_show(&watcher, NULL), want);
			good &= mshare_map(fd, 64 * page(), page(), RW, 0, -1, 0) == 0;
			info = info_of(fd);
			good &= info.resident == info.mapped;
			good &= !strcmp(watcher_show(&watcher, NULL), want);
			check(good, "%s failing at %s", operation_names[op], point);
		}
	/* ENOSPC and ENOMEM, which are common, by their names and with the numbers. */
	contents_reset(fd);
	snprintf(value, sizeof(value), "map-allocated=%d", ENOSPC);
	must(setenv("MSHARE_TEST_FAIL", value, 1) == 0);
	check_error(operate(fd, MAP), ENOSPC, "map failing with ENOSPC");
	unsetenv("MSHARE_TEST_FAIL");
	check(errmsg_has_number(4 * (long)page()), "with the number: %s", mshare_errmsg());

	for (size_t i = 0; i < 5; i++) {
		contents_reset(fd);
		snprintf(value, sizeof(value), "%s=%d", following[i], ENOMEM);
		char *w = mshare_attach(fd, NULL, RW, 0);

		must(w != MAP_FAILED && info_of(fd).attachments == 2);
		must(setenv("MSHARE_TEST_FAIL", value, 1) == 0);
		check(operate(fd, PROTECT) == 0, "an attacher fails at %s: the change is done",
		      following[i]);
		/* Where the change has arrived before the failure, this comes a little later. */
		for (int tries = 0; tries < 20000 && !info_of(fd).attachment_errno; tries++)
			usleep(1000);
		unsetenv("MSHARE_TEST_FAIL");
		info = info_of(fd);
		check(info.attachment_errno == ENOMEM, "%s: mshare_info says ENOMEM", following[i]);
		check(info.attachments == 1 && info.stragglers == 0, "%s: it is out", following[i]);
		probe_pages(w, pages);
		check(strspn(pages, "-") == PAGES, "%s: its window is inaccessible (%s)",
		      following[i], pages);
		check(!strcmp(watcher_show(&watcher, NULL), expected_pages(PROTECT)),
		      "%s: others are unhurt", following[i]);
		check(contains_mapping(w, GIB), "%s: its addresses are still taken", following[i]);
		check(mshare_map(fd, 64 * page(), page(), RW, 0, -1, 0) == 0, "%s: changes go on",
		      following[i]);
		check(mshare_detach(w) == 0 && !contains_mapping(w, GIB), "%s: detach",
		      following[i]);
		check(info_of(fd).attachment_errno == 0 && mshare_attach(fd, NULL, RW, 0) == w &&
			      mshare_detach(w) == 0,
		      "%s: attached anew it is well", following[i]);
	}

	for (size_t i = 0; i < 3; i++) {
		contents_reset(fd);
		info = info_of(fd);
		snprintf(value, sizeof(value), "%s=%d", joining[i], ENOLCK);
		must(setenv("MSHARE_TEST_FAIL", value, 1) == 0);
		check_error((int64_t)mshare_attach(fd, NULL, RW, 0), ENOLCK, "attach failing at %s",
			    joining[i]);
		check_error((int64_t)mshare_attach(fd, NULL, RW, MSHARE_ATTACH_REUSE), ENOLCK,
			    "attach failing at %s, with REUSE", joining[i]);
		unsetenv("MSHARE_TEST_FAIL");
		check(!contains_mapping((void *)(uintptr_t)info.base, info.window),
		      "%s: nothing is left mapped", joining[i]);
		info = info_of(fd);
		check(info.attachments == 1 && info.stragglers == 0 && !info.attachment_errno,
		      "%s: nor locked", joining[i]);
		check(operate(fd, MAP) == 0, "%s: changes go on", joining[i]);
	}
	watcher_end(&watcher);
	check(settles(fd, 0, 0), "nobody is left");
	return done();
}
