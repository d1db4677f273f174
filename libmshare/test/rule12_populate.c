/* SPDX-License-Identifier: MIT */
/* Rule 12: MAP_POPULATE fills the tables as well, of the attachers there are. */
#include "test.h"

#define PAGES 64

/* How many of PAGES pages from addr on are in the page tables of a process. */
static int present(pid_t pid, const char *addr)
{
	char path[64];
	uint64_t e[PAGES];
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	must(pread(fd, e, sizeof(e), (off_t)((uintptr_t)addr / page() * 8)) == sizeof(e));
	close(fd);
	for (int i = 0; i < PAGES; i++)
		n += (e[i] >> 63) & 1;
	return n;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page(), len = PAGES * P;
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	char *w = mshare_attach(fd, NULL, RW, 0);
	struct peer p = peer_unrelated(), r = peer_unrelated();
	int there = p_open(&p, name, O_RDWR, 0), reader = p_open(&r, name, O_RDONLY, 0);

	must(w != MAP_FAILED && p_attach(&p, there, NULL, RW, 0) == w);
	must(p_attach(&r, reader, NULL, PROT_READ, 0) == w);
	must(mshare_map(fd, 0, len, RW, 0, -1, 0) == 0);
	check_eq(present(getpid(), w), 0, "rule 12: without POPULATE the tables are empty");
	check_eq(present(p.pid, w), 0, "rule 12: and in a peer");
	/*
	 * Shared tables are filled once, for all; a process comes to see them when it
	 * first touches something in that part of the window.
	 */
	if (shares_tables())
		must(load(w, NULL) == 0 && p_load(&p, w, NULL) == 0 && p_load(&r, w, NULL) == 0);
	must(mshare_map(fd, MIB, len, RW, MSHARE_MAP_POPULATE, -1, 0) == 0);
	check_eq(present(getpid(), w + MIB), PAGES, "rule 12: POPULATE fills the caller's tables");
	check_eq(present(p.pid, w + MIB), PAGES, "rule 12: and a peer's");
	check_eq(present(r.pid, w + MIB), PAGES, "rule 12: and a read-only peer's");
	check(store(w + MIB, 7) == 0 && p_load(&r, w + MIB, NULL) == 0, "rule 12: it is usable");

	struct mshare_mapping m[4];
	size_t count = 4;

	check(mshare_mappings(fd, m, sizeof(m[0]), &count) == 0 && count == 2 && m[1].flags == 0,
	      "rule 12: POPULATE is done once, no property of the mapping");
	must(mshare_map(fd, 2 * MIB, len, PROT_READ, MSHARE_MAP_POPULATE, -1, 0) == 0);
	check_eq(present(p.pid, w + 2 * MIB), PAGES, "rule 12: POPULATE of read-only memory");
	check(mshare_map(fd, 3 * MIB, len, PROT_NONE, MSHARE_MAP_POPULATE, -1, 0) == 0,
	      "rule 12: POPULATE of what nobody may touch is no error");
	check(mshare_map(fd, 4 * MIB, len, RW, MSHARE_MAP_POPULATE | MSHARE_MAP_NORESERVE, -1, 0) ==
			      0 &&
		      present(getpid(), w + 4 * MIB) == PAGES,
	      "rule 12: POPULATE with NORESERVE");
	/* Nobody is attached elsewhere: still right. */
	int other = region_new(NULL, GIB);

	check(mshare_map(other, 0, len, RW, MSHARE_MAP_POPULATE, -1, 0) == 0,
	      "rule 12: POPULATE without attachers");
	check(p_end(&p) && p_end(&r), "the peers ended well");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
