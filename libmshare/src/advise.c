// SPDX-License-Identifier: MIT
#include "backend.h"

int mshare_advise(int fd, size_t offset, size_t length, int advice)
{
	static const char verb[] = "mshare_advise";
	const struct backend *backend = backend_for_change(fd, verb);

	if (!backend || range_check(offset, length, verb) == -1)
		return -1;
	return backend->advise(fd, offset, length, advice);
}
