/* SPDX-License-Identifier: MIT */
/*
 * Rule 9, for reserve: killed, stopped or failing at each of its points, the
 * region has no window afterwards, and the next reserve gives it one.
 */
#include "kill_util.h"

struct reserver {
	const char *name, *variable, *value;
};

static int reserve(void *arg)
{
	struct reserver *r = arg;
	int fd = mshare_open(r->name, O_RDWR, 0);

	must(fd >= 0);
	must(setenv(r->variable, r->value, 1) == 0);
	errno = 0;
	int result = mshare_reserve(fd, NULL, 4 * GIB);

	party_report(result ? errno : 0);
	return 0;
}

static void without_window(int fd, const char *what)
{
	check_error((int64_t)mshare_attach(fd, NULL, RW, 0), ENODATA, "%s: attach", what);
	check_error(mshare_map(fd, 0, page(), RW, 0, -1, 0), ENODATA, "%s: map", what);
	struct mshare_info info = info_of(fd);

	check(info.window == 0 && info.base == 0, "%s: there is no window", what);
	check(mshare_reserve(fd, NULL, 2 * GIB) == 0, "%s: the next reserve works", what);
	info = info_of(fd);
	check(info.window == 2 * GIB && info.resident == 0 && info.generation == 0,
	      "%s: and gives the window it was asked for", what);
	char *w = mshare_attach(fd, NULL, RW, 0);

	check(w != MAP_FAILED && mshare_map(fd, 0, page(), RW, 0, -1, 0) == 0 && store(w, 1) == 0,
	      "%s: that works", what);
	check(mshare_detach(w) == 0, "%s: detach", what);
}

int main(int argc, char **argv)
{
	static const char *const points[] = {"reserve-sized", "reserve-header"};
	char what[96], failing[64];

	begin(argc, argv);
	need_test_points();
	for (size_t i = 0; i < 2; i++) {
		snprintf(what, sizeof(what), "killed at %s", points[i]);
		const char *name = unique(what + 7);
		int fd = region_new(name, 0);
		struct reserver r = {name, "MSHARE_TEST_KILL", points[i]};
		struct party p = party_start(reserve, &r);

		must(party_await(&p) == INT64_MIN);
		int status = party_end(&p);

		check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s", what);
		without_window(fd, what);
		close(fd);

		snprintf(what, sizeof(what), "failing at %s", points[i]);
		name = unique(what);
		fd = region_new(name, 0);
		snprintf(failing, sizeof(failing), "%s=%d", points[i], EIO);
		must(setenv("MSHARE_TEST_FAIL", failing, 1) == 0);
		check_error(mshare_reserve(fd, NULL, GIB), EIO, "%s", what);
		unsetenv("MSHARE_TEST_FAIL");
		struct stat st;

		must(fstat(fd, &st) == 0);
		check(st.st_size == 0 && st.st_blocks == 0, "%s: the file is as it was", what);
		without_window(fd, what);
		close(fd);

		snprintf(what, sizeof(what), "stopped at %s", points[i]);
		name = unique(what);
		fd = region_new(name, 0);
		r = (struct reserver){name, "MSHARE_TEST_STOP", points[i]};
		p = party_start(reserve, &r);
		must(waitpid(p.pid, &status, WUNTRACED) == p.pid && WIFSTOPPED(status));
		mshare_set_timeout(100);
		check_error(mshare_reserve(fd, NULL, GIB), EBUSY, "%s: another reserve", what);
		check_error((int64_t)mshare_attach(fd, NULL, RW, 0), ENODATA, "%s: attach", what);
		mshare_set_timeout(30000);
		must(kill(p.pid, SIGCONT) == 0);
		check_eq(party_await(&p), 0, "%s, continued: it comes to its end", what);
		party_go(&p, 0);
		must(exited(party_end(&p), 0));
		check_error(mshare_reserve(fd, NULL, GIB), EEXIST, "%s: now there is one", what);
		check_eq(info_of(fd).window, 4 * GIB, "%s: the window", what);
		close(fd);
	}
	return done();
}
