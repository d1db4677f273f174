// SPDX-License-Identifier: MIT
#include "backend.h"

#include <fcntl.h>
#include <stdio.h>

int mshare_reopen(int fd, int oflag)
{
	static const char verb[] = "mshare_reopen";
	char path[40];
	int copy;

	if ((oflag & ~O_CLOEXEC) != O_RDONLY && (oflag & ~O_CLOEXEC) != O_RDWR)
		return fail(EINVAL, "%s: oflag 0x%x is neither O_RDONLY nor O_RDWR", verb,
			    (unsigned int)oflag);
	if (!backend_of(fd, verb))
		return -1;
	/* thread-self: a thread may have a descriptor table of its own. */
	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", fd);
	copy = open(path, oflag | O_CLOEXEC);
	if (copy == -1)
		return fail(errno, "%s: cannot open %s %s%s", verb, path,
			    oflag & O_RDWR ? "for reading and writing" : "for reading",
			    errno == ENOENT ? "; is /proc mounted?"
					    : "; the region's owner and mode decide who may");
	return copy;
}
