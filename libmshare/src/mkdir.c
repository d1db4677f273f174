// SPDX-License-Identifier: MIT
#include "internal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int mshare_mkdir(const char *name, mode_t mode)
{
	static const char verb[] = "mshare_mkdir";
	const char *leaf;
	int parent, result;

	if (mode & ~(mode_t)07777)
		return fail(EINVAL, "%s: mode 0%o has bits beyond 07777", verb, mode);
	parent = parent_open(name, ROOT_CREATE, verb, &leaf);
	if (parent == -1)
		return -1;
	result = mkdirat(parent, leaf, mode);
	if (result == -1)
		fail(errno, "%s: cannot make the directory \"%.200s\"", verb, name);
	close(parent);
	if (result == -1)
		errno = mshare_errno();
	return result;
}

int mshare_rmdir(const char *name)
{
	static const char verb[] = "mshare_rmdir";
	const char *leaf;
	int parent, result;

	parent = parent_open(name, ROOT_CHECK, verb, &leaf);
	if (parent == -1)
		return -1;
	result = unlinkat(parent, leaf, AT_REMOVEDIR);
	if (result == -1)
		fail(errno, "%s: cannot remove the directory \"%.200s\"", verb, name);
	close(parent);
	if (result == -1)
		errno = mshare_errno();
	return result;
}
