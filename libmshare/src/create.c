// SPDX-License-Identifier: MIT
#include "backend.h"

#include <unistd.h>

int mshare_create(unsigned int flags, mode_t mode)
{
	static const char verb[] = "mshare_create";
	const struct backend *backend;
	int root, fd;

	if (flags & ~MSHARE_REQUIRE_SHARED_PAGE_TABLES)
		return fail(EINVAL, "%s: flags 0x%x has unknown bits", verb, flags);
	if (mode & ~(mode_t)0777)
		return fail(EINVAL, "%s: mode 0%o has bits beyond 0777", verb, mode);
	backend = root_unnamed(&root, verb);
	if (!backend)
		return -1;
	if (flags & MSHARE_REQUIRE_SHARED_PAGE_TABLES &&
	    !(backend->capabilities & MSHARE_CAP_SHARED_PAGE_TABLES))
		fd = fail(EOPNOTSUPP,
			  "%s: shared page tables are required, and regions are on the shm back "
			  "end, which gives every attacher its own; they are shared where the "
			  "root is on a msharefs",
			  verb);
	else
		fd = backend->create(root, mode);
	if (root != -1)
		close(root);
	if (fd == -1)
		errno = mshare_errno();
	return fd;
}
