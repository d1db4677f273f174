/* SPDX-License-Identifier: MIT */
/* Bad input: RLIMIT_AS. A clear error, nothing lost; who is attached stays attached. */
#include "test.h"

static int fd;
static size_t P;

static void limit_as(rlim_t bytes)
{
	struct rlimit rl;

	must(getrlimit(RLIMIT_AS, &rl) == 0);
	rl.rlim_cur = bytes;
	must(setrlimit(RLIMIT_AS, &rl) == 0);
}

static rlim_t used(void)
{
	return (rlim_t)status_number(getpid(), "VmSize:") * 1024;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	P = page();
	const char *name = unique("region");
	int small = region_new(unique("small"), GIB);

	fd = region_new(name, 4 * GIB);
	must(mshare_map(fd, 0, 2 * P, RW, 0, -1, 0) == 0);
	must(mshare_map(small, 0, 2 * P, RW, 0, -1, 0) == 0);
	char *s = mshare_attach(small, NULL, RW, 0);

	must(s != MAP_FAILED && store(s, 3) == 0);
	/* What else allocates should have done so once. */
	probe_prepare();
	must(mshare_detach((void *)8) == -1);
	long before = thread_count();

	/* Room for much, not for the window. */
	limit_as(used() + GIB);
	errno = 0;
	void *w = mshare_attach(fd, NULL, RW, 0);

	check(w == MAP_FAILED && errno == ENOMEM && mshare_errno() == ENOMEM,
	      "attach of 4 GiB with RLIMIT_AS 1 GiB away: ENOMEM (%s)", mshare_errmsg());
	check_error(mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE), ENOMEM,
		    "attach of it anywhere");
	check_eq(info_of(fd).attachments, 0, "nothing is attached");
	check_eq(threads_become(before), before, "and no thread is left");
	check(value_at(s) == 3 && store(s, 4) == 0, "what was attached before is");

	/* Room for the window, and not for what else it takes. */
	int answers[2] = {0, 0};

	for (int i = 0; i < 64; i++) {
		limit_as(used() + 4 * GIB + (rlim_t)i * P);
		w = mshare_attach(fd, NULL, RW, 0);
		if (w == MAP_FAILED) {
			if (errno != ENOMEM && errno != EAGAIN) {
				check(false, "attach with %d pages to spare: errno %d (%s)", i,
				      errno, mshare_errmsg());
				break;
			}
			answers[0]++;
			continue;
		}
		answers[1]++;
		if (mshare_detach(w) != 0) {
			check(false, "detach with %d pages to spare", i);
			break;
		}
	}
	limit_as(RLIM_INFINITY);
	check(answers[0] + answers[1] == 64,
	      "attach with 0 to 63 pages to spare: ENOMEM or EAGAIN (%d), or attached (%d)",
	      answers[0], answers[1]);
	check_eq(info_of(fd).attachments, 0, "nothing is attached");

	/* No room at all: who is attached sees changes, and makes them. */
	struct peer p = peer_fork();

	limit_as(used());
	check(p_map(&p, small, 8 * P, P, RW, 0) == 0 && load(s + 8 * P, NULL) == 0,
	      "rule 3: a change by another process arrives");
	check(p_unmap(&p, small, 0, P) == 0 && load(s, NULL) == SIGSEGV, "rule 3: an unmap too");
	int r = mshare_map(small, 16 * P, P, RW, 0, -1, 0);

	if (r == 0)
		check(load(s + 16 * P, NULL) == 0, "a change of its own is in force");
	else
		check((errno == ENOMEM || errno == EAGAIN) && load(s + 16 * P, NULL) == SIGSEGV,
		      "a change of its own is refused: errno %d (%s)", errno, mshare_errmsg());
	check(info_of(small).attachment_errno == 0, "its attachment is well");
	limit_as(RLIM_INFINITY);
	check(mshare_map(small, 32 * P, P, RW, 0, -1, 0) == 0 && load(s + 32 * P, NULL) == 0 &&
		      p_load(&p, s + 32 * P, NULL) == 0,
	      "with room again all is as ever");
	w = mshare_attach(fd, NULL, RW, 0);
	check(w != MAP_FAILED && load(w, NULL) == 0, "and the large one can be attached");
	check(p_end(&p), "the child ended well");
	check(mshare_detach(w) == 0 && mshare_detach(s) == 0, "detach");
	return done();
}
