// SPDX-License-Identifier: MIT
/* What both back ends do with files. */
#include "internal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int read_all(int fd, void *to, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(fd, (char *)to + done, size - done, (off_t)(offset + done));

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return errno;
		if (n == 0)
			return done ? EUCLEAN : ENODATA;
		done += (size_t)n;
	}
	return 0;
}

int write_all(int fd, const void *from, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pwrite(fd, (const char *)from + done, size - done,
				   (off_t)(offset + done));

		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? errno : ENOSPC;
		done += (size_t)n;
	}
	return 0;
}

bool identity_of(int fd, struct identity *identity)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO, &st) == -1)
		return false;
	*identity = (struct identity){st.stx_dev_major, st.stx_dev_minor, st.stx_ino};
	return true;
}

bool identity_equal(const struct identity *a, const struct identity *b)
{
	return a->inode == b->inode && a->major == b->major && a->minor == b->minor;
}
