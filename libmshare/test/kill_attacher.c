/* SPDX-License-Identifier: MIT */
/*
 * Rule 9, at every point of an attacher's work: one killed there, while it joins
 * or while it follows a change, holds up nobody and leaves no lock.
 */
#include "kill_util.h"

static const char *name;
static int fd;

struct attacher {
	const char *point;
	bool joins; /* the point is passed by attaching */
};

static int attacher(void *arg)
{
	struct attacher *a = arg;
	int here = mshare_open(name, O_RDWR, 0);

	must(here >= 0);
	if (a->joins)
		must(setenv("MSHARE_TEST_KILL", a->point, 1) == 0);
	must(mshare_attach(here, NULL, RW, 0) != MAP_FAILED);
	must(setenv("MSHARE_TEST_KILL", a->point, 1) == 0);
	party_report(0);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	static const char *const joining[] = {"join-locked", "join-view", "join-row"};
	static const char *const following[] = {"apply-before", "apply-mid", "apply-after",
						"row-locked", "row-unlocked"};
	char pages[PAGES + 1];

	begin(argc, argv);
	need_test_points();
	name = unique("region");
	fd = region_new(name, GIB);
	struct watcher watcher = watcher_start(name);

	mshare_set_timeout(30000);
	for (size_t i = 0; i < 3; i++) {
		struct attacher a = {joining[i], true};

		contents_reset(fd);
		struct party p = party_start(attacher, &a);

		must(party_await(&p) == INT64_MIN);
		int status = party_end(&p);

		check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "killed at %s",
		      joining[i]);
		struct mshare_info info = info_of(fd);

		check(info.attachments == 1 && info.stragglers == 0,
		      "killed at %s: no attachment is left", joining[i]);
		check(operate(fd, MAP) == 0, "killed at %s: the next change goes through",
		      joining[i]);
	}
	for (int op = 0; op < OPERATIONS; op++)
		for (size_t i = 0; i < 5; i++) {
			struct attacher a = {following[i], false};

			contents_reset(fd);
			struct party p = party_start(attacher, &a);

			must(party_await(&p) == 0);
			must(info_of(fd).attachments == 2);
			int result = operate(fd, op);
			int status = party_end(&p);
			struct mshare_info info = info_of(fd);

			table_pages(fd, pages);
			check(result == 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL &&
				      !strcmp(pages, expected_pages(op)) &&
				      !strcmp(watcher_show(&watcher, NULL), pages) &&
				      info.attachments == 1 && info.stragglers == 0 &&
				      info.resident == info.mapped,
			      "%s while an attacher is killed at %s", operation_names[op],
			      following[i]);
		}
	watcher_end(&watcher);
	check(settles(fd, 0, 0), "nobody is left");
	return done();
}
