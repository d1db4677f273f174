/* SPDX-License-Identifier: MIT */
/* Rule 1: a new region has no window; reserve gives it one, once. */
#include "test.h"

static void no_window(int fd, const char *kind)
{
	struct mshare_info i = info_of(fd);
	size_t count = 0;

	check(i.window == 0 && i.base == 0 && i.mapped == 0 && i.mappings == 0 &&
		      i.attachments == 0 && i.resident == 0,
	      "rule 1: a new %s region has no window, nothing mapped, no memory", kind);
	check_error(mshare_attach(fd, NULL, RW, 0), ENODATA, "rule 1: attach before reserve (%s)",
		    kind);
	check_error(mshare_map(fd, 0, page(), RW, 0, -1, 0), ENODATA,
		    "rule 1: map before reserve (%s)", kind);
	check_error(mshare_unmap(fd, 0, page()), ENODATA, "rule 1: unmap before reserve (%s)",
		    kind);
	check_error(mshare_protect(fd, 0, page(), PROT_READ), ENODATA,
		    "rule 1: protect before reserve (%s)", kind);
	check_error(mshare_advise(fd, 0, page(), MADV_NORMAL), ENODATA,
		    "rule 1: advise before reserve (%s)", kind);
	check(mshare_mappings(fd, NULL, sizeof(struct mshare_mapping), &count) == 0 && count == 0,
	      "rule 1: no mappings before reserve (%s)", kind);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t unit = mshare_alignment();

	check(unit >= page() && (unit & (unit - 1)) == 0,
	      "rule 1: the alignment is a power of two");

	const char *name = unique("region");
	int fd = mshare_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	int nameless = mshare_create(0, 0600);

	must(fd >= 0 && nameless >= 0);
	no_window(fd, "named");
	no_window(nameless, "unnamed");

	/* Another process gives it its window; this one sees it. */
	struct peer p = peer_unrelated();
	int there = p_open(&p, name, O_RDWR, 0);

	must(there >= 0);
	check(p_reserve(&p, there, NULL, 2 * unit) == 0, "rule 1: another process reserves");
	struct mshare_info i = info_of(fd);

	check_eq(i.window, 2 * unit, "rule 1: the window is as large as asked for");
	check(i.base != 0 && i.base % unit == 0,
	      "rule 1: a base was chosen, aligned (%#" PRIx64 ")", i.base);
	check(i.mapped == 0 && i.mappings == 0 && i.resident == 0,
	      "rule 1: a reserved window has no memory and no mapping");

	check_error(mshare_reserve(fd, NULL, 2 * unit), EEXIST, "rule 1: reserve again");
	check_error(mshare_reserve(fd, NULL, unit), EEXIST, "rule 1: reserve again, smaller");
	check_peer_error(p_reserve(&p, there, NULL, 4 * unit), EEXIST,
			 "rule 1: reserve again, by the process that did");
	struct mshare_info j = info_of(fd);

	check(j.window == i.window && j.base == i.base, "rule 1: the window is as it was");

	char *w = mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED);
	check_eq(load(w, NULL), SIGSEGV, "rule 1: nothing is mapped in an attached new window");
	check_eq(load(w + 2 * unit - 8, NULL), SIGSEGV, "rule 1: nor at its end");
	must(mshare_map(fd, 2 * unit - page(), page(), RW, 0, -1, 0) == 0);
	check_eq(load(w + 2 * unit - page(), NULL), 0, "rule 1: memory comes by map");
	check(mshare_detach(w) == 0, "rule 1: detach");

	/* A base of one's own. */
	void *base = (void *)(uintptr_t)i.base;

	check(mshare_reserve(nameless, base, unit) == 0, "rule 1: reserve with a base");
	check_eq(info_of(nameless).base, i.base, "rule 1: the base is the one asked for");
	check_eq(info_of(nameless).window, unit, "rule 1: the unnamed region's window");
	check(p_end(&p), "the peer ended well");
	return done();
}
