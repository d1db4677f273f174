/* SPDX-License-Identifier: MIT */
/* Rule 2: contents are changed through the descriptor, all or nothing. */
#include "map_util.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB);

	/* This process is never attached; the peer is. */
	struct peer p = peer_unrelated();
	int there = p_open(&p, name, O_RDWR, 0);
	char *w = p_attach(&p, there, NULL, RW, 0);

	must(w != MAP_FAILED);
	check(mshare_map(fd, 4 * P, 4 * P, RW, 0, -1, 0) == 0, "rule 2: map, not attached");
	check(p_store(&p, w + 4 * P, 41) == 0 && p_store(&p, w + 7 * P, 42) == 0,
	      "rule 2: who is attached has the memory");
	check(MAPPED_IS(fd, {4 * P, 4 * P, RW, 0}), "rule 2: and it is listed");

	struct mshare_info before = info_of(fd);

	check_error(mshare_map(fd, 4 * P, 4 * P, RW, 0, -1, 0), EEXIST,
		    "rule 2: map over a mapping");
	check_error(mshare_map(fd, 0, 5 * P, RW, 0, -1, 0), EEXIST,
		    "rule 2: map that overlaps one page at the end");
	check_error(mshare_map(fd, 7 * P, 4 * P, PROT_READ, 0, -1, 0), EEXIST,
		    "rule 2: map that overlaps one page at the start");
	check_error(mshare_map(fd, 0, 16 * P, RW, 0, -1, 0), EEXIST,
		    "rule 2: map around a mapping");
	check_error(mshare_map(fd, 5 * P, P, RW, 0, -1, 0), EEXIST, "rule 2: map inside a mapping");
	check_error(mshare_map(fd, 0, GIB, RW, MSHARE_MAP_NORESERVE, -1, 0), EEXIST,
		    "rule 2: map of the whole window");
	check_error(mshare_protect(fd, 3 * P, 2 * P, PROT_READ), ENOMEM,
		    "rule 2: protect with a hole in front");
	check_error(mshare_protect(fd, 7 * P, 2 * P, PROT_READ), ENOMEM,
		    "rule 2: protect with a hole behind");
	check_error(mshare_protect(fd, 0, P, PROT_READ), ENOMEM, "rule 2: protect of a hole");
	check_error(mshare_protect(fd, 0, GIB, PROT_READ), ENOMEM, "rule 2: protect of the window");
	check(mshare_unmap(fd, 0, 4 * P) == 0, "rule 2: unmap of a hole is 0");
	check(mshare_unmap(fd, 8 * P, GIB - 8 * P) == 0, "rule 2: unmap of a large hole is 0");
	check(MAPPED_IS(fd, {4 * P, 4 * P, RW, 0}), "rule 2: none of these changed anything");
	check_eq(info_of(fd).mapped, before.mapped, "rule 2: nor the bytes mapped");
	check(info_of(fd).resident == before.resident, "rule 2: nor the memory taken");
	uint64_t a = 0, b = 0;

	check(p_load(&p, w + 4 * P, &a) == 0 && p_load(&p, w + 7 * P, &b) == 0 && a == 41 &&
		      b == 42,
	      "rule 2: nor the contents");
	check(p_store(&p, w + 4 * P, 43) == 0, "rule 2: nor the protection");
	check(p_load(&p, w + 3 * P, NULL) == SIGSEGV && p_load(&p, w + 8 * P, NULL) == SIGSEGV,
	      "rule 2: what a refused map would have covered is still a hole");

	/* A protect with a hole in the middle. */
	check(mshare_unmap(fd, 5 * P, P) == 0, "rule 2: unmap in the middle");
	check(MAPPED_IS(fd, {4 * P, P, RW, 0}, {6 * P, 2 * P, RW, 0}), "rule 2: two are left");
	check_error(mshare_protect(fd, 4 * P, 4 * P, PROT_READ), ENOMEM,
		    "rule 2: protect over a hole in the middle");
	check(p_store(&p, w + 4 * P, 44) == 0 && p_store(&p, w + 6 * P, 45) == 0,
	      "rule 2: neither side of the hole was changed");

	/* An unmap over holes and mappings. */
	check(mshare_unmap(fd, 0, 7 * P) == 0, "rule 2: unmap over holes and mappings");
	check(MAPPED_IS(fd, {7 * P, P, RW, 0}), "rule 2: the rest of the last one is left");
	check(p_load(&p, w + 7 * P, &b) == 0 && b == 42, "rule 2: with its contents");

	/* The peer, attached, changes; so does one that has only the descriptor. */
	check(p_map(&p, there, 0, P, RW, 0) == 0, "rule 2: map by an attacher");
	struct peer q = peer_exec();
	int sent = p_take(&q, fd);

	check(p_map(&q, sent, P, P, RW, 0) == 0, "rule 2: map through a descriptor sent over");
	check(p_protect(&q, sent, 0, P, PROT_READ) == 0, "rule 2: protect through it");
	check(MAPPED_IS(fd, {0, P, PROT_READ, 0}, {P, P, RW, 0}, {7 * P, P, RW, 0}),
	      "rule 2: all see the same mappings");
	check(mshare_unmap(fd, 0, GIB) == 0, "rule 2: unmap of the whole window");
	size_t count = 0;

	check(mshare_mappings(fd, NULL, sizeof(struct mshare_mapping), &count) == 0 && !count,
	      "rule 2: nothing is left");
	check(info_of(fd).mapped == 0 && info_of(fd).resident == 0, "rule 2: no memory either");
	check(p_end(&p) && p_end(&q), "the peers ended well");
	return done();
}
