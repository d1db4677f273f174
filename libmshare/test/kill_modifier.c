/* SPDX-License-Identifier: MIT */
/*
 * Rule 9, at every point of a change: a modifier killed there leaves the region
 * with the old table or the new one, by whether it was published; the next
 * change drains and goes on; what an abandoned map allocated, or an unmap gave
 * up, is free; attachers show just the table; no lock is left.
 */
#include "kill_util.h"

static const char *name;
static int fd;

static void kill_at(const char *point, enum operation op, struct watcher *watchers, unsigned int n,
		    bool attached)
{
	struct modifier m = {name, "MSHARE_TEST_KILL", point, op, attached};
	char what[128], pages[PAGES + 1];
	bool good = true, published = !before_publishing(point) || !passes(op, point);
	const char *want = expected_pages(published ? op : OPERATIONS);

	snprintf(what, sizeof(what), "%s killed at %s, %u attachers%s", operation_names[op], point,
		 n, attached ? " and itself" : "");
	contents_reset(fd);

	struct party p = party_start(modify, &m);
	bool survived = party_await(&p) == 0;

	if (survived)
		party_go(&p, 0);
	int status = party_end(&p);

	if (!passes(op, point)) {
		good &= check(survived && exited(status, 0), "%s: it does not come by", what);
		return;
	}
	good &= !survived && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	if (!good)
		note("it was not killed: status %#x", status);

	table_pages(fd, pages);
	if (strcmp(pages, want)) {
		note("table   %s\n#   wanted  %s", pages, want);
		good = false;
	}
	/* Published is published: it arrives without anybody's help. */
	good &= settles(fd, n, 0);
	for (unsigned int i = 0; i < n; i++) {
		const char *shown = watcher_show(&watchers[i], NULL);

		if (strcmp(shown, want)) {
			note("attacher %u shows %s\n#   wanted           %s", i, shown, want);
			good = false;
		}
	}

	/* The next one, which must not touch what the dead one's is about. */
	if (mshare_map(fd, 64 * page(), page(), RW, 0, -1, 0) != 0) {
		note("the next change: %s", mshare_errmsg());
		good = false;
	}
	struct mshare_info info = info_of(fd);

	table_pages(fd, pages);
	if (strcmp(pages, want) || info.resident != info.mapped || info.attachments != n ||
	    info.stragglers) {
		note("after the next change: pages %s, resident %" PRIu64 ", mapped %" PRIu64
		     ", attachments %u, stragglers %u",
		     pages, info.resident, info.mapped, info.attachments, info.stragglers);
		good = false;
	}
	for (unsigned int i = 0; i < n; i++)
		good &= !strcmp(watcher_show(&watchers[i], NULL), want);
	/* Map over what the dead one unmapped: zeros, or its change is undone whole. */
	if (op == UNMAP && published) {
		uint64_t value = 1;

		good &= mshare_map(fd, 2 * page(), page(), RW, 0, -1, 0) == 0;
		good &= pread(fd, &value, sizeof(value), (off_t)(GIB + 2 * page())) ==
				sizeof(value) &&
			value == 0;
	}
	check(good, "%s", what);
}

int main(int argc, char **argv)
{
	static const unsigned int numbers[] = {0, 1, 3};

	begin(argc, argv);
	need_test_points();
	name = unique("region");
	fd = region_new(name, GIB);
	mshare_set_timeout(30000);
	for (size_t n = 0; n < 3; n++) {
		struct watcher watchers[3];

		for (unsigned int i = 0; i < numbers[n]; i++)
			watchers[i] = watcher_start(name);
		for (int op = 0; op < OPERATIONS; op++)
			for (size_t i = 0; i < MODIFIER_POINTS; i++)
				kill_at(modifier_points[i], op, watchers, numbers[n],
					numbers[n] == 1);
		for (unsigned int i = 0; i < numbers[n]; i++)
			watcher_end(&watchers[i]);
	}
	check(settles(fd, 0, 0), "nobody is left");
	return done();
}
