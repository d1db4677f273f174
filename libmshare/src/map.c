// SPDX-License-Identifier: MIT
#include "backend.h"

int mshare_map(int fd, size_t offset, size_t length, int prot, int flags, int backing_fd,
	       off_t backing_offset)
{
	static const char verb[] = "mshare_map";
	const struct backend *backend = backend_for_change(fd, verb);

	if (!backend || range_check(offset, length, verb) == -1 || prot_check(prot, verb) == -1)
		return -1;
	if (flags & ~MAP_FLAGS)
		return fail(EINVAL, "%s: flags 0x%x has unknown bits", verb, (unsigned int)flags);
	if (backing_fd < -1 || (backing_fd == -1 && backing_offset != 0))
		return fail(
			EINVAL,
			"%s: backing_fd %d with backing_offset %lld; for memory they are -1 and 0",
			verb, backing_fd, (long long)backing_offset);
	if (backing_fd >= 0 && !(backend->capabilities & MSHARE_CAP_FILE_BACKING))
		return fail(EOPNOTSUPP,
			    "%s: the region's back end maps memory only, no files "
			    "(MSHARE_CAP_FILE_BACKING is not among its capabilities)",
			    verb);
	if (flags & MSHARE_MAP_HUGETLB && !(backend->capabilities & MSHARE_CAP_HUGETLB))
		return fail(EOPNOTSUPP,
			    "%s: the region's back end has no hugetlb pages (MSHARE_CAP_HUGETLB is "
			    "not among its capabilities)",
			    verb);
	return backend->map(fd, offset, length, prot, flags, backing_fd, backing_offset);
}
