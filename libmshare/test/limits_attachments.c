/* SPDX-License-Identifier: MIT */
/*
 * Limits: how often one process attaches one region. On msharefs 16 times, and
 * then EMFILE; each attachment is one more place that flushes reach. A child has
 * those of its parent, and another process 16 of its own.
 */
#include "map_util.h"

#define MOST 16
#define TRIES 20

int main(int argc, char **argv)
{
	begin(argc, argv);
	/* Before there is anything that it would have until it execs. */
	struct peer p = peer_exec();
	int fd = region_new(NULL, GIB), other = region_new(NULL, GIB), most = TRIES, n = 0;
	char *w[TRIES];

	must(mshare_map(fd, 0, page(), RW, 0, -1, 0) == 0);
	if (shares_tables())
		most = MOST;
	for (; n < TRIES; n++) {
		w[n] = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE);
		if (w[n] == MAP_FAILED)
			break;
	}
	check_eq(n, most, "so many attachments of one region");
	if (shares_tables()) {
		check_error(mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE) == MAP_FAILED ? -1
											      : 0,
			    EMFILE, "one more");
		check(strstr(mshare_errmsg(), "attached"), "the sentence says so: \"%s\"",
		      mshare_errmsg());
	}
	check(store(w[0], 5) == 0 && value_at(w[n - 1]) == 5, "all are of the same memory");
	check_eq(info_of(fd).attachments, (uint32_t)n, "and counted");
	char *v = mshare_attach(other, NULL, RW, 0);

	check(v != MAP_FAILED, "another region can be attached");
	struct peer child = peer_fork();
	uint64_t value = 0;

	check(p_load(&child, w[n - 1], &value) == 0 && value == 5, "a child has them all");
	check_eq(info_of(fd).attachments, 2 * (uint32_t)n, "and counts");
	check(p_attach(&p, p_take(&p, fd), NULL, RW, 0) != MAP_FAILED, "another process attaches");
	check(p_end(&child) && p_end(&p), "they end well");
	check(mshare_detach(w[0]) == 0 &&
		      (w[0] = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE)) != MAP_FAILED,
	      "one detached: one can be attached");
	for (int i = 0; i < n; i++)
		must(mshare_detach(w[i]) == 0);
	check(mshare_detach(v) == 0 && info_of(fd).attachments == 0, "detached all");
	return done();
}
