// SPDX-License-Identifier: MIT
#include "backend.h"

int mshare_unmap(int fd, size_t offset, size_t length)
{
	static const char verb[] = "mshare_unmap";
	const struct backend *backend = backend_for_change(fd, verb);

	if (!backend || range_check(offset, length, verb) == -1)
		return -1;
	return backend->unmap(fd, offset, length);
}
