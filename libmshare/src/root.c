// SPDX-License-Identifier: MIT
/* The root directory, and names below it. */
#include "internal.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define ROOT_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

int root_filesystem_check(int fd, const char *verb)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) == -1)
		return fail(errno, "%s: cannot ask which file system the root is on", verb);
	if (fs.f_type != TMPFS_MAGIC)
		return fail(EOPNOTSUPP,
			    "%s: the root directory is on a file system (magic 0x%lx) that cannot "
			    "hold regions; set MSHARE_ROOT to a directory on a tmpfs",
			    verb, (unsigned long)fs.f_type);
	return 0;
}

/* /dev/shm is open to everybody, so the default name there may be a squatter's. */
static int default_root_check(int fd, const char *path, const char *verb)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_UID | STATX_MODE, &st) == -1)
		return fail(errno, "%s: cannot stat the root directory %s", verb, path);
	if (st.stx_uid != geteuid())
		return fail(
			EPERM,
			"%s: the root directory %s belongs to uid %u and not to you (uid %u); it "
			"may have been put there to get at your data: remove it, or set "
			"MSHARE_ROOT to a directory that you trust",
			verb, path, st.stx_uid, geteuid());
	if (st.stx_mode & 077)
		return fail(
			EPERM,
			"%s: the root directory %s (owner uid %u) has mode %03o, open to others; "
			"chmod it to 700, or set MSHARE_ROOT to a directory made for sharing",
			verb, path, st.stx_uid, st.stx_mode & 0777);
	return 0;
}

int root_open(enum root_use use, const char *verb)
{
	const char *root = secure_getenv("MSHARE_ROOT");
	char path[64];
	int fd;

	if (root && *root) {
		if (*root != '/')
			return fail(EINVAL, "%s: MSHARE_ROOT is \"%s\", which is no absolute path",
				    verb, root);
		fd = open(root, ROOT_FLAGS);
		if (fd == -1)
			return fail(
				errno,
				"%s: cannot open the directory that MSHARE_ROOT names, %s; it has "
				"to exist and to be readable by you",
				verb, root);
		if (use == ROOT_BARE || root_filesystem_check(fd, verb) == 0)
			return fd;
		goto refused;
	}

	snprintf(path, sizeof(path), "/dev/shm/mshare-%u", geteuid());
	fd = open(path, ROOT_FLAGS | O_NOFOLLOW);
	if (fd == -1 && errno == ENOENT && use == ROOT_CREATE) {
		if (mkdir(path, 0700) == -1 && errno != EEXIST)
			return fail(errno,
				    "%s: cannot make the root directory %s; set MSHARE_ROOT to a "
				    "directory on a tmpfs that you may write",
				    verb, path);
		fd = open(path, ROOT_FLAGS | O_NOFOLLOW);
	}
	if (fd == -1) {
		int err = errno;
		struct statx st = {0};

		statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE | STATX_UID, &st);
		/* O_DIRECTORY answers ENOTDIR for a link: say what it is. */
		if (err == ENOTDIR && S_ISLNK(st.stx_mode))
			return fail(ELOOP,
				    "%s: the root directory %s is a symbolic link (owner uid %u), "
				    "which is not followed",
				    verb, path, st.stx_uid);
		if (err == ENOENT)
			return fail(ENOENT, "%s: no region exists: there is no root directory %s",
				    verb, path);
		if (err == EACCES && st.stx_mask & STATX_UID)
			return fail(EPERM,
				    "%s: the root directory %s belongs to uid %u and is closed to "
				    "you; set MSHARE_ROOT to a directory that you may use",
				    verb, path, st.stx_uid);
		return fail(err, "%s: cannot open the root directory %s", verb, path);
	}
	if (use == ROOT_BARE)
		return fd;
	if (default_root_check(fd, path, verb) == 0 && root_filesystem_check(fd, verb) == 0)
		return fd;
refused:
	close(fd);
	errno = mshare_errno();
	return -1;
}

int name_check(const char *name, const char *verb)
{
	const char *component = name;

	if (!name)
		return fail(EINVAL, "%s: the name is NULL", verb);
	for (;;) {
		size_t length = strcspn(component, "/");

		if (length == 0)
			return fail(EINVAL,
				    "%s: the name \"%.100s\" is empty, absolute, or has an empty "
				    "component; names are relative to the root, such as "
				    "\"demo/counters\"",
				    verb, name);
		if (component[0] == '.' && (length == 1 || (length == 2 && component[1] == '.')))
			return fail(EINVAL,
				    "%s: the name \"%.100s\" has a component \".\" or \"..\"", verb,
				    name);
		if (length > 255)
			return fail(
				ENAMETOOLONG,
				"%s: a component of the name \"%.40s…\" has %zu bytes; 255 is the "
				"most",
				verb, name, length);
		if (!component[length])
			return 0;
		component += length + 1;
	}
}

int open_beneath(int dirfd, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (unsigned int)flags | O_CLOEXEC,
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	/* EAGAIN: a rename went by while ".." or a mount was being checked. */
	do {
		fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
	} while (fd == -1 && (errno == EAGAIN || errno == EINTR));
	return fd;
}

int parent_open(const char *name, enum root_use use, const char *verb, const char **leaf)
{
	const char *slash;
	char *directory;
	int root, fd;

	if (name_check(name, verb) == -1)
		return -1;
	root = root_open(use, verb);
	slash = strrchr(name, '/');
	*leaf = slash ? slash + 1 : name;
	if (root == -1 || !slash)
		return root;

	directory = strndup(name, (size_t)(slash - name));
	if (!directory) {
		close(root);
		return fail(ENOMEM, "%s: no memory", verb);
	}
	fd = open_beneath(root, directory, O_PATH | O_DIRECTORY, 0);
	if (fd == -1)
		fail(errno, "%s: cannot open the directory \"%.100s\" below the root", verb,
		     directory);
	free(directory);
	close(root);
	if (fd == -1)
		errno = mshare_errno();
	return fd;
}

int mshare_root(void)
{
	return root_open(ROOT_CREATE, "mshare_root");
}
