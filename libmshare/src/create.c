// SPDX-License-Identifier: MIT
#include "backend.h"

int mshare_create(unsigned int flags, mode_t mode)
{
	static const char verb[] = "mshare_create";

	if (flags & ~MSHARE_REQUIRE_SHARED_PAGE_TABLES)
		return fail(EINVAL, "%s: flags 0x%x has unknown bits", verb, flags);
	if (mode & ~(mode_t)0777)
		return fail(EINVAL, "%s: mode 0%o has bits beyond 0777", verb, mode);
	if (flags & MSHARE_REQUIRE_SHARED_PAGE_TABLES)
		return fail(EOPNOTSUPP,
			    "%s: this kernel cannot share page tables between processes: it has no "
			    "msharefs, and the shm back end gives every attacher its own",
			    verb);
	return backend_shm.create(mode);
}
