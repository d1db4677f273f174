/* SPDX-License-Identifier: MIT */
/*
 * Rule 6: an attached process becomes another user, who could not open the
 * region. The attachment goes on, it still changes the region by the descriptor
 * it has, and its children take part.
 */
#include "map_util.h"
#include "party_util.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	if (geteuid() != 0)
		skip_all("needs root, to become another user");
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	struct peer p = peer_exec();
	int there = p_open(&p, name, O_RDWR, 0);
	char *w = p_attach(&p, there, NULL, RW, 0);

	must(w != MAP_FAILED && mshare_attach(fd, NULL, RW, 0) == w);
	/* A change before, for what it may keep for the next one. */
	must(p_map(&p, there, 0, P, RW, 0) == 0);
	check(p_become(&p, STRANGER, STRANGER) == 0, "it becomes another user");
	check_peer_error(p_reopen(&p, there, O_RDWR), EACCES, "who may not open the region");
	check(mshare_map(fd, 8 * P, P, RW, 0, -1, 0) == 0 && p_store(&p, w + 8 * P, 5) == 0 &&
		      value_at(w + 8 * P) == 5,
	      "changes reach it");
	check(p_map(&p, there, 9 * P, P, RW, 0) == 0 && store(w + 9 * P, 6) == 0,
	      "it changes: map");
	check(p_protect(&p, there, 9 * P, P, PROT_READ) == 0 && store(w + 9 * P, 6) == SIGSEGV,
	      "protect");
	check(p_unmap(&p, there, 9 * P, P) == 0 && load(w + 9 * P, NULL) == SIGSEGV, "unmap");
	struct peer c = p_fork(&p);

	check(p_load(&c, w + 8 * P, NULL) == 0, "its child has the window");
	check(p_map(&c, there, 10 * P, P, RW, 0) == 0 && load(w + 10 * P, NULL) == 0 &&
		      p_load(&p, w + 10 * P, NULL) == 0,
	      "and changes");
	check(mshare_unmap(fd, 8 * P, P) == 0 && p_load(&c, w + 8 * P, NULL) == SIGSEGV &&
		      p_load(&p, w + 8 * P, NULL) == SIGSEGV,
	      "changes reach both");
	check(p_end(&c), "the child ends");
	check(settles(fd, 2, 0), "two are attached");
	/* One who attached as root and detaches as nobody. */
	check(p_detach(&p, w) == 0 && p_attach(&p, there, NULL, RW, 0) == w &&
		      p_load(&p, w + 10 * P, NULL) == 0,
	      "it detaches and attaches anew");
	check(p_end(&p) && mshare_detach(w) == 0, "they end");
	check(settles(fd, 0, 0), "nobody is left");
	return done();
}
