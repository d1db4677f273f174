// SPDX-License-Identifier: MIT
#include "backend.h"

int mshare_protect(int fd, size_t offset, size_t length, int prot)
{
	static const char verb[] = "mshare_protect";
	const struct backend *backend = backend_for_change(fd, verb);

	if (!backend || range_check(offset, length, verb) == -1 || prot_check(prot, verb) == -1)
		return -1;
	return backend->protect(fd, offset, length, prot);
}
