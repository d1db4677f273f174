// SPDX-License-Identifier: MIT
/* The root directory, and names below it. */
#include "backend.h"

#include <fcntl.h>
#include <linux/msharefs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#define ROOT_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

/* Where the kernel makes a place to mount msharefs. */
#define MSHAREFS_ROOT "/sys/fs/mshare"

const struct backend *root_backend(int fd, const char *verb)
{
	const struct backend *backend = backend_at(fd);
	struct statfs fs;

	if (backend)
		return backend;
	if (fstatfs(fd, &fs) == -1)
		fail(errno, "%s: cannot ask which file system the root is on", verb);
	else
		fail(EOPNOTSUPP,
		     "%s: the root directory is on a file system (magic 0x%lx) that cannot hold "
		     "regions; set MSHARE_ROOT to a directory on a msharefs or a tmpfs",
		     verb, (unsigned long)fs.f_type);
	return NULL;
}

#define ABSENT (-2)

/*
 * The root of msharefs, if one is mounted where it belongs; ABSENT if not. One
 * that is there and closed to us is no reason to go elsewhere.
 */
static int msharefs_root_open(const char *verb)
{
	struct statfs fs;
	int fd = open(MSHAREFS_ROOT, ROOT_FLAGS), err = errno;

	if (fd != -1) {
		if (fstatfs(fd, &fs) == 0 && fs.f_type == MSHAREFS_SUPER_MAGIC)
			return fd;
		close(fd);
		return ABSENT;
	}
	if (err == ENOENT)
		return ABSENT;
	if (err != EMFILE && err != ENFILE &&
	    (statfs(MSHAREFS_ROOT, &fs) == -1 || fs.f_type != MSHAREFS_SUPER_MAGIC))
		return ABSENT;
	return fail(err,
		    "%s: cannot open the root directory " MSHAREFS_ROOT
		    "; set MSHARE_ROOT to a directory that you may use",
		    verb);
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

/* The shm back end's own root, in the place that it has for each user. */
static int shm_root_open(enum root_use use, const char *verb)
{
	char path[64];
	int fd;

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
			return fail(ENOENT,
				    "%s: no region exists: no msharefs is mounted at " MSHAREFS_ROOT
				    ", and there is no root directory %s",
				    verb, path);
		if (err == EACCES && st.stx_mask & STATX_UID)
			return fail(EPERM,
				    "%s: the root directory %s belongs to uid %u and is closed to "
				    "you; set MSHARE_ROOT to a directory that you may use",
				    verb, path, st.stx_uid);
		return fail(err, "%s: cannot open the root directory %s", verb, path);
	}
	if (use == ROOT_BARE || (default_root_check(fd, path, verb) == 0 && root_backend(fd, verb)))
		return fd;
	close(fd);
	errno = mshare_errno();
	return -1;
}

/* Of a program that runs with privileges its caller lacks, the caller has no say in it. */
static const char *root_given(void)
{
	const char *root = secure_getenv("MSHARE_ROOT");

	return root && *root ? root : NULL;
}

static int given_root_open(const char *root, enum root_use use, const char *verb)
{
	int fd;

	if (*root != '/')
		return fail(EINVAL, "%s: MSHARE_ROOT is \"%s\", which is no absolute path", verb,
			    root);
	fd = open(root, ROOT_FLAGS);
	if (fd == -1)
		return fail(errno,
			    "%s: cannot open the directory that MSHARE_ROOT names, %s; it has to "
			    "exist and to be readable by you",
			    verb, root);
	if (use == ROOT_BARE || root_backend(fd, verb))
		return fd;
	close(fd);
	errno = mshare_errno();
	return -1;
}

int root_open(enum root_use use, const char *verb)
{
	const char *given = root_given();
	int fd;

	if (given)
		return given_root_open(given, use, verb);
	fd = msharefs_root_open(verb);
	return fd == ABSENT ? shm_root_open(use, verb) : fd;
}

const struct backend *root_unnamed(int *root, const char *verb)
{
	const char *given = root_given();

	*root = given ? given_root_open(given, ROOT_CHECK, verb) : msharefs_root_open(verb);
	if (*root != ABSENT)
		return *root == -1 ? NULL : backend_at(*root);
	*root = -1;
	return &backend_shm;
}

int name_check(const char *name, const char *verb)
{
	const char *component = name;

	if (!name)
		return fail(EINVAL, "%s: the name is NULL", verb);
	/* On both back ends, so that programs move between the two unchanged. */
	if (!strcmp(name, MSHAREFS_INFO_NAME))
		return fail(EINVAL,
			    "%s: the name \"" MSHAREFS_INFO_NAME
			    "\" is taken: msharefs says there what windows are multiples of",
			    verb);
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
