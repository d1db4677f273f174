/* SPDX-License-Identifier: MIT */
/*
 * Bad input: a full root. ENOSPC with the numbers, no SIGBUS, nothing changed;
 * and what needs no memory goes on. (Rules 2 and 12.)
 */
#include "mount_util.h"

#include "map_util.h"

static int ballast;

/* Take all that is left, to the last page. */
static void fill(const char *root)
{
	char path[PATH_MAX + 16];
	uint64_t left;

	if (on_shm()) {
		snprintf(path, sizeof(path), "%s/ballast", root);
		ballast = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		must(ballast >= 0);
		left = bytes_free(root);
		if (left)
			must(fallocate(ballast, 0, 0, (off_t)left) == 0);
	} else {
		ballast = region_new("ballast", GIB);
		must(mshare_map(ballast, 0, bytes_free(root), RW, 0, -1, 0) == 0);
	}
	must(bytes_free(root) == 0);
}

static void empty(void)
{
	must((on_shm() ? ftruncate(ballast, 0) : mshare_unmap(ballast, 0, GIB)) == 0);
}

static bool names_numbers(const char *what)
{
	note("%s: %s", what, mshare_errmsg());
	return strpbrk(mshare_errmsg(), "0123456789") != NULL;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	const char *root = own_root("size=16m,nr_inodes=20");
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	char *w = mshare_attach(fd, NULL, RW, 0);
	struct peer p = peer_exec();
	int there = p_open(&p, name, O_RDWR, 0);

	must(w != MAP_FAILED && p_attach(&p, there, NULL, RW, 0) == w);
	must(mshare_map(fd, 0, 16 * P, RW, 0, -1, 0) == 0 && store(w, 1) == 0);
	must(mshare_advise(fd, 0, 16 * P, MADV_POPULATE_WRITE) == 0);
	struct mshare_info before = info_of(fd);
	int young = region_new(unique("young"), 0);

	fill(root);
	check_error(mshare_map(fd, MIB, P, RW, 0, -1, 0), ENOSPC, "rule 12: map on a full root");
	check(names_numbers("map"), "rule 12: with numbers");
	check_error(mshare_map(fd, MIB, 512 * MIB, RW, 0, -1, 0), ENOSPC,
		    "rule 12: a large map on a full root");
	/* As for mmap(): population is what can be had, and NORESERVE has opted out. */
	check(mshare_map(fd, MIB, P, RW, MSHARE_MAP_POPULATE | MSHARE_MAP_NORESERVE, -1, 0) == 0 &&
		      mshare_unmap(fd, MIB, P) == 0,
	      "rule 12: POPULATE with NORESERVE on a full root does no harm");
	check_error(mshare_map(fd, MIB, P, RW, MSHARE_MAP_POPULATE, -1, 0), ENOSPC,
		    "rule 12: POPULATE alone on a full root");
	check(mshare_advise(fd, 0, 16 * P, MADV_POPULATE_WRITE) == 0,
	      "rule 12: MADV_POPULATE_WRITE of what is allocated needs nothing");
	check(MAPPED_IS(fd, {0, 16 * P, RW, 0}) && info_of(fd).resident == before.resident,
	      "rule 2: nothing has changed");
	check(load(w + MIB, NULL) == SIGSEGV && p_load(&p, w + MIB, NULL) == SIGSEGV,
	      "rule 2: nor in an attacher");
	if (on_shm()) {
		check_error(mshare_reserve(young, NULL, GIB), ENOSPC,
			    "rule 12: reserve, for which shm needs a page");
		check(names_numbers("reserve"), "rule 12: with numbers");
		check(info_of(young).window == 0, "rule 12: and the region has no window still");
		check_error(mshare_attach(young, NULL, RW, 0), ENODATA,
			    "rule 1: nor can it be attached");
	} else {
		check(mshare_reserve(young, NULL, GIB) == 0,
		      "rule 1: a window costs no memory: reserve on a full root");
	}

	/* What needs no memory works: the table of mappings has its pages. */
	check(mshare_protect(fd, 4 * P, 4 * P, PROT_READ) == 0, "rule 12: protect on a full root");
	check(store(w + 4 * P, 1) == SIGSEGV && p_store(&p, w + 4 * P, 1) == SIGSEGV,
	      "rule 3: is in force everywhere");
	char *again = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE);

	check(again != MAP_FAILED && value_at(again) == 1 && mshare_detach(again) == 0,
	      "rule 12: attach and detach on a full root");
	struct peer child = peer_fork();

	check(p_load(&child, w, NULL) == 0, "rule 12: fork on a full root");
	check(p_end(&child), "the child ended well");
	check(mshare_map(fd, MIB, P, RW, MSHARE_MAP_NORESERVE, -1, 0) == 0,
	      "rule 12: map with NORESERVE on a full root");
	/* Of size=, msharefs counts what is reserved; tmpfs what is there. */
	if (on_shm())
		check(store(w + MIB, 1) == SIGBUS && p_store(&p, w + MIB, 1) == SIGBUS,
		      "rule 12: whose touch is SIGBUS");
	else
		check(store(w + MIB, 1) == 0 && p_store(&p, w + MIB, 1) == 0,
		      "rule 12: which has opted out of the mount's size=");
	check(mshare_unmap(fd, 8 * P, 8 * P) == 0, "rule 12: unmap on a full root");
	check_eq(bytes_free(root), 8 * P, "rule 8: frees");
	check(store(w + MIB, 1) == 0, "rule 12: then the touch is paid for");
	size_t left = bytes_free(root);

	check(mshare_map(fd, 8 * P, left, RW, 0, -1, 0) == 0 && bytes_free(root) == 0,
	      "rule 12: and a map of just what is left");
	check_error(mshare_map(fd, 16 * P, P, RW, 0, -1, 0), ENOSPC, "rule 12: not one page more");

	/* Room again: the region that could not be reserved can be. */
	empty();
	check((info_of(young).window || mshare_reserve(young, NULL, GIB) == 0) &&
		      mshare_map(young, 0, P, RW, 0, -1, 0) == 0,
	      "rule 12: reserve and map when there is room");

	/* No inodes: no new names. */
	int n = 0;
	char label[32];

	do {
		char path[PATH_MAX + 32];

		snprintf(path, sizeof(path), "%s/inode%d", root, n++);
		int f = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

		if (f < 0)
			break;
		close(f);
	} while (n < 100);
	snprintf(label, sizeof(label), "%s", unique("no-inode"));
	check_error(mshare_open(label, O_RDWR | O_CREAT, 0600), ENOSPC,
		    "rule 12: no inodes are left");
	check_error(mshare_mkdir(label, 0700), ENOSPC, "rule 12: nor for a directory");
	check(mshare_open(name, O_RDWR, 0) >= 0, "rule 12: what exists can be opened");
	check(p_load(&p, w, NULL) == 0 && p_end(&p), "the peer ended well");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
