// SPDX-License-Identifier: MIT
#include "backend.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int mshare_open(const char *name, int oflag, mode_t mode)
{
	static const char verb[] = "mshare_open";
	int access = oflag & O_ACCMODE;
	struct statx st;
	int root, fd;

	if (oflag & ~(O_ACCMODE | O_CREAT | O_EXCL | O_CLOEXEC) ||
	    (access != O_RDONLY && access != O_RDWR))
		return fail(EINVAL,
			    "%s: oflag 0x%x is not O_RDONLY or O_RDWR, with O_CREAT and O_EXCL",
			    verb, (unsigned int)oflag);
	if (oflag & O_CREAT && mode & ~(mode_t)0777)
		return fail(EINVAL, "%s: mode 0%o has bits beyond 0777", verb, mode);
	if (name_check(name, verb) == -1)
		return -1;
	root = root_open(oflag & O_CREAT ? ROOT_CREATE : ROOT_CHECK, verb);
	if (root == -1)
		return -1;

	/* O_NONBLOCK: somebody's FIFO is to be refused, not waited on. */
	fd = open_beneath(root, name, oflag | O_NONBLOCK | O_NOCTTY, mode);
	if (fd == -1) {
		/* ENXIO: a socket, or a FIFO that nobody reads; as little a region as a device. */
		int err = errno == ENXIO ? EINVAL : errno;

		fail(err, "%s: cannot open region \"%.200s\"%s", verb, name,
		     err == ELOOP ? ": symbolic links are not followed" : "");
		goto out;
	}
	if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &st) == -1) {
		fail(errno, "%s: cannot stat region \"%.200s\"", verb, name);
	} else if (S_ISDIR(st.stx_mode)) {
		fail(EISDIR, "%s: \"%.200s\" is a directory", verb, name);
	} else if (!S_ISREG(st.stx_mode)) {
		fail(EINVAL, "%s: \"%.200s\" is no region: it is not a regular file", verb, name);
	} else if (root_backend(fd, verb)) {
		fcntl(fd, F_SETFL, 0);
		close(root);
		return fd;
	}
	close(fd);
out:
	close(root);
	errno = mshare_errno();
	return -1;
}
