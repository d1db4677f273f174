// SPDX-License-Identifier: MIT
#include "internal.h"

#include <fcntl.h>
#include <unistd.h>

/* All of it: open the root, unlinkat(), close. */
int mshare_unlink(const char *name)
{
	static const char verb[] = "mshare_unlink";
	const char *leaf;
	int parent, result;

	parent = parent_open(name, ROOT_BARE, verb, &leaf);
	if (parent == -1)
		return -1;
	result = unlinkat(parent, leaf, 0);
	if (result == -1)
		fail(errno, "%s: cannot unlink \"%.200s\"", verb, name);
	close(parent);
	if (result == -1)
		errno = mshare_errno();
	return result;
}
