/* SPDX-License-Identifier: MIT */
/* Rule 4: an explicit address is exactly there, or EADDRINUSE, or EINVAL if it cannot be. */
#include "test.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page(), unit = mshare_alignment();
	const char *name = unique("region");
	int fd = region_new(name, unit);
	char *base = (char *)(uintptr_t)info_of(fd).base;

	must(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0);
	/* Another region's base is an address that was chosen to be free. */
	int other = region_new(unique("other"), 4 * unit);
	char *addr = (char *)(uintptr_t)info_of(other).base + 2 * unit;

	check(mshare_attach(fd, addr, RW, 0) == addr, "rule 4: attach(addr) is exactly there");
	check(store(addr, 3) == 0, "rule 4: and it works");
	check_error(mshare_attach(fd, addr, RW, 0), EADDRINUSE, "rule 4: attach there again");
	check_error(mshare_attach(fd, addr, RW, MSHARE_ATTACH_ANYWHERE), EADDRINUSE,
		    "rule 4: an explicit address is not moved by ANYWHERE");
	check_error(mshare_attach(other, addr - 2 * unit, RW, 0), EADDRINUSE,
		    "rule 4: a window of another region that would reach into it");
	check_eq(value_at(addr), 3, "rule 4: the attachment is as it was");
	check_error(mshare_attach(fd, addr + P, RW, 0), EINVAL, "rule 4: an unaligned address");
	check_error(mshare_attach(fd, (void *)1, RW, 0), EINVAL, "rule 4: the address 1");
	if (TEST_TSAN) {
		skip("rule 4: addresses that no process has",
		     "ThreadSanitizer ends a process that asks for memory outside its arena");
	} else {
		errno = 0;
		check(mshare_attach(fd, (void *)~(unit - 1), RW, 0) == MAP_FAILED &&
			      (errno == EINVAL || errno == ENOMEM),
		      "rule 4: an address at the end of all addresses is refused");
		errno = 0;
		check(mshare_attach(fd, (void *)(UINT64_C(1) << 62), RW, 0) == MAP_FAILED &&
			      (errno == EINVAL || errno == ENOMEM),
		      "rule 4: an address that no process has is refused");
	}
	check(mshare_attach(fd, base, RW, 0) == base && value_at(base) == 3,
	      "rule 4: the base, asked for, beside the other view");
	check(mshare_detach(addr) == 0 && mshare_detach(base) == 0, "detach");

	/* Different processes may have it at different addresses. */
	struct peer p = peer_unrelated(), q = peer_unrelated();
	int pf = p_open(&p, name, O_RDWR, 0), qf = p_open(&q, name, O_RDWR, 0);

	check(p_attach(&p, pf, addr, RW, 0) == addr &&
		      p_attach(&q, qf, addr + unit, RW, 0) == addr + unit,
	      "rule 4: two processes, two addresses");
	uint64_t v = 0;

	check(p_store(&p, addr + 8, 11) == 0 && p_load(&q, addr + unit + 8, &v) == 0 && v == 11,
	      "rule 4: the same memory");
	must(mshare_unmap(fd, 0, P) == 0);
	check(p_load(&p, addr, NULL) == SIGSEGV && p_load(&q, addr + unit, NULL) == SIGSEGV,
	      "rule 4: and a change reaches both");
	check(p_end(&p) && p_end(&q), "the peers ended well");
	return done();
}
