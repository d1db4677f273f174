/* SPDX-License-Identifier: MIT */
/*
 * The test points with SIGSTOP: a modifier stopped at each makes others fail
 * with EBUSY and nothing changed; an attacher stopped at each holds up changes
 * as long as it must and no longer. Continued, all come to their ends.
 */
#include "kill_util.h"

static const char *name;
static int fd;

static int attacher(void *arg)
{
	struct {
		const char *point;
		bool joins;
		char *shown;
	} *a = arg;
	int here = mshare_open(name, O_RDWR, 0);

	must(here >= 0);
	if (a->joins)
		must(setenv("MSHARE_TEST_STOP", a->point, 1) == 0);
	char *w = mshare_attach(here, NULL, RW, 0);

	must(w != MAP_FAILED);
	must(setenv("MSHARE_TEST_STOP", a->point, 1) == 0);
	party_report(0);
	probe_pages(w, a->shown);
	must(mshare_detach(w) == 0);
	party_report(0);
	return 0;
}

static void await_stop(struct party *p)
{
	int status;

	must(waitpid(p->pid, &status, WUNTRACED) == p->pid && WIFSTOPPED(status));
}

int main(int argc, char **argv)
{
	static const char *const following[] = {"apply-before", "apply-mid", "apply-after",
						"row-locked", "row-unlocked"};
	static const char *const joining[] = {"join-locked", "join-view", "join-row"};
	char pages[PAGES + 1];

	begin(argc, argv);
	need_test_points();
	name = unique("region");
	fd = region_new(name, GIB);
	struct watcher watcher = watcher_start(name);

	for (int op = 0; op < OPERATIONS; op++)
		for (size_t i = 0; i < MODIFIER_POINTS; i++) {
			const char *point = modifier_points[i];
			struct modifier m = {name, "MSHARE_TEST_STOP", point, op, i % 2};

			if (!passes(op, point))
				continue;
			mshare_set_timeout(30000);
			contents_reset(fd);
			struct party p = party_start(modify, &m);

			await_stop(&p);
			/*
			 * If it is attached and stopped as soon as it has published, its own
			 * service is what it will have to wait for.
			 */
			bool behind = m.attached &&
				      (!strcmp(point, "published") || !strcmp(point, "draining"));
			const char *want = expected_pages(before_publishing(point) ? OPERATIONS
										   : op);
			uint64_t generation = info_of(fd).generation;
			bool good = true;

			if (!behind)
				good &= settles(fd, m.attached ? 2 : 1, 0);
			mshare_set_timeout(20);
			errno = 0;
			good &= mshare_map(fd, 64 * page(), page(), RW, 0, -1, 0) == -1 &&
				errno == EBUSY;
			table_pages(fd, pages);
			good &= !strcmp(pages, want) && info_of(fd).generation == generation;
			/* The watcher has come as far as what is published, or will. */
			if (!behind)
				good &= !strcmp(watcher_show(&watcher, NULL), want);
			must(kill(p.pid, SIGCONT) == 0);
			int64_t result = party_await(&p);

			good &= result == 0;
			party_go(&p, 0);
			good &= exited(party_end(&p), 0);
			mshare_set_timeout(30000);
			table_pages(fd, pages);
			good &= !strcmp(pages, expected_pages(op)) &&
				!strcmp(watcher_show(&watcher, NULL), pages);
			good &= mshare_map(fd, 64 * page(), page(), RW, 0, -1, 0) == 0;
			struct mshare_info info = info_of(fd);

			good &= info.resident == info.mapped && info.attachments == 1 &&
				info.stragglers == 0;
			check(good, "%s stopped at %s%s (its result: %d)", operation_names[op],
			      point, m.attached ? ", attached" : "", (int)result);
		}

	struct {
		const char *point;
		bool joins;
		char *shown;
	} a = {.shown = mmap(NULL, page(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
			     0)};

	for (int op = 0; op < OPERATIONS; op++)
		for (size_t i = 0; i < 5; i++) {
			a.point = following[i];
			a.joins = false;
			mshare_set_timeout(30000);
			contents_reset(fd);
			struct party p = party_start(attacher, &a);

			must(party_await(&p) == 0);
			bool arrived = !strcmp(a.point, "row-unlocked"), good = true;

			mshare_set_timeout(arrived ? 30000 : 100);
			errno = 0;
			int result = operate(fd, op), err = errno;

			mshare_set_timeout(100);

			await_stop(&p);
			good &= arrived ? result == 0 : result == -1 && err == ETIMEDOUT;
			/*
			 * The watcher may be slow. Who goes from one generation's row to the
			 * next is in both for a moment, and counts twice.
			 */
			good &= settles(fd, strcmp(a.point, "row-locked") ? 2 : 3, !arrived);
			table_pages(fd, pages);
			good &= !strcmp(pages, expected_pages(op)) &&
				!strcmp(watcher_show(&watcher, NULL), pages);
			if (!arrived) {
				errno = 0;
				good &= mshare_unmap(fd, 0, page()) == -1 && errno == EBUSY;
			}
			must(kill(p.pid, SIGCONT) == 0);
			mshare_set_timeout(30000);
			good &= mshare_map(fd, 64 * page(), page(), RW, 0, -1, 0) == 0;
			good &= party_next(&p, 0) == 0 && !strcmp(a.shown, expected_pages(op));
			party_go(&p, 0);
			good &= exited(party_end(&p), 0);
			struct mshare_info info = info_of(fd);

			good &= info.resident == info.mapped && info.attachments == 1;
			check(good, "%s while an attacher is stopped at %s: %s",
			      operation_names[op], a.point, result ? strerror(err) : "done");
		}

	for (size_t i = 0; i < 3; i++) {
		a.point = joining[i];
		a.joins = true;
		mshare_set_timeout(30000);
		contents_reset(fd);
		struct party p = party_start(attacher, &a);
		bool good = true;

		await_stop(&p);
		mshare_set_timeout(100);
		errno = 0;
		good &= operate(fd, MAP) == -1 && errno == EBUSY;
		table_pages(fd, pages);
		good &= !strcmp(pages, expected_pages(OPERATIONS));
		mshare_set_timeout(30000);
		/* Joiners share M. */
		good &= party_next(&watcher.party, DROP) == 0;
		must(kill(p.pid, SIGCONT) == 0);
		good &= party_await(&p) == 0;
		good &= operate(fd, MAP) == 0;
		/* The point is passed once: that is over. */
		good &= party_next(&p, 0) == 0 && !strcmp(a.shown, expected_pages(MAP));
		party_go(&p, 0);
		good &= exited(party_end(&p), 0);
		check(good && settles(fd, 1, 0), "one who joins is stopped at %s", a.point);
	}
	watcher_end(&watcher);
	check(settles(fd, 0, 0), "nobody is left");
	return done();
}
