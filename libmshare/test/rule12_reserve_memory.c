/* SPDX-License-Identifier: MIT */
/*
 * Rule 12: map reserves by default: it allocates, or accounts, or answers ENOSPC
 * with the numbers; NORESERVE opts out, and a touch can then be SIGBUS.
 */
#include "mount_util.h"

static bool has_number(const char *text)
{
	return strpbrk(text, "0123456789") != NULL;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();

	/* A root of the environment's own, whatever back end. */
	int fd = region_new(unique("region"), GIB);
	uint64_t before = info_of(fd).resident;

	must(mshare_map(fd, 0, 8 * MIB, RW, 0, -1, 0) == 0);
	uint64_t reserved = info_of(fd).resident - before;

	if (on_shm())
		check(reserved >= 8 * MIB, "rule 12: map has allocated on shm (%" PRIu64 " bytes)",
		      reserved);
	else
		check_eq(reserved, 0, "rule 12: map has accounted on msharefs, and takes nothing");
	must(mshare_map(fd, 64 * MIB, 8 * MIB, RW, MSHARE_MAP_NORESERVE, -1, 0) == 0);
	check_eq(info_of(fd).resident - before, reserved, "rule 12: NORESERVE has not");
	struct mshare_mapping m[2];
	size_t count = 2;

	check(mshare_mappings(fd, m, sizeof(m[0]), &count) == 0 && count == 2 && m[0].flags == 0 &&
		      m[1].flags == MSHARE_MAP_NORESERVE,
	      "rule 12: which of them is NORESERVE is listed");
	must(mshare_map(fd, 128 * MIB, 4 * P, PROT_NONE, 0, -1, 0) == 0);
	if (on_shm())
		check_eq(info_of(fd).resident - before, reserved + 4 * P,
			 "rule 12: PROT_NONE memory is reserved as well");
	close(fd);
	/* Before the root is another one. */
	must(mshare_unlink(tap.names[0]) == 0);

	const char *root = own_root("size=32m");

	fd = region_new(unique("small"), GIB);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED);
	uint64_t left = bytes_free(root);

	check(mshare_map(fd, 0, 16 * MIB, RW, 0, -1, 0) == 0 && bytes_free(root) <= left - 16 * MIB,
	      "rule 12: the memory is taken when map returns");
	left = bytes_free(root);
	check_error(mshare_map(fd, 64 * MIB, 64 * MIB, RW, 0, -1, 0), ENOSPC,
		    "rule 12: more than the root has: ENOSPC");
	note("%s", mshare_errmsg());
	check(has_number(mshare_errmsg()), "rule 12: with the numbers");
	check(bytes_free(root) == left && info_of(fd).mapped == 16 * MIB &&
		      load(w + 64 * MIB, NULL) == SIGSEGV,
	      "rule 12: nothing has changed");
	for (size_t o = 0; o < 16 * MIB; o += P)
		*(volatile char *)(w + o) = 1;
	check(true, "rule 12: every page of what was reserved can be written");

	check(mshare_map(fd, 64 * MIB, 64 * MIB, RW, MSHARE_MAP_NORESERVE, -1, 0) == 0 &&
		      bytes_free(root) == left,
	      "rule 12: NORESERVE maps more than there is");
	if (!on_shm()) {
		/* What SIGBUS is about there: limits_cgroup. */
		for (size_t o = 64 * MIB; o < 128 * MIB; o += 16 * P)
			must(store(w + o, o) == 0);
		check(bytes_free(root) == left,
		      "rule 12: the mount's size= does not count what was not reserved");
		check_error(mshare_map(fd, 256 * MIB, left + P, RW, 0, -1, 0), ENOSPC,
			    "rule 12: what is reserved cannot exceed it");
		check(mshare_unmap(fd, 0, P) == 0 &&
			      mshare_map(fd, 256 * MIB, left + P, RW, 0, -1, 0) == 0,
		      "rule 12: until something is unmapped");
		check(mshare_detach(w) == 0, "detach");
		return done();
	}
	size_t touched = 0;
	int sig = 0;

	for (size_t o = 64 * MIB; o < 128 * MIB && !sig; o += P) {
		sig = store(w + o, o);
		touched += !sig;
	}
	check(sig == SIGBUS && touched > 0 && touched * P <= left,
	      "rule 12: a touch that cannot be paid for is SIGBUS (after %zu pages)", touched);
	check_error(mshare_map(fd, 256 * MIB, MIB, RW, 0, -1, 0), ENOSPC,
		    "rule 12: then no reservation is to be had");
	check(mshare_unmap(fd, 64 * MIB, 64 * MIB) == 0 &&
		      mshare_map(fd, 256 * MIB, MIB, RW, 0, -1, 0) == 0,
	      "rule 12: until something is unmapped");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
