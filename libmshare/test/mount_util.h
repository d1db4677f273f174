/* SPDX-License-Identifier: MIT */
/*
 * A root on a mount of the program's own, where nobody else sees it. It goes with
 * the program.
 */
#ifndef MSHARE_TEST_MOUNT_UTIL_H
#define MSHARE_TEST_MOUNT_UTIL_H

#include "test.h"

#include <sys/mount.h>

static inline void private_mounts(void)
{
	if (unshare(CLONE_NEWNS) != 0) {
		if (errno == EPERM && !ci())
			skip_all("needs a mount namespace of its own: %s", strerror(errno));
		must(!"unshare(CLONE_NEWNS)");
	}
	must(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
}

/* What the root's back end has regions on. */
static inline const char *root_type(void)
{
	return on_shm() ? "tmpfs" : "msharefs";
}

/* options as for mount -o, "size=8m", on either back end. The mount point's path. */
static inline const char *own_root(const char *options)
{
	static char path[PATH_MAX];
	const char *type = root_type();

	private_mounts();
	snprintf(path, sizeof(path), "%s", temp_path("root"));
	must(mkdir(path, 0755) == 0 || errno == EEXIST);
	must(mount("mshare-test", path, type, MS_NOSUID | MS_NODEV, options) == 0);
	must(chmod(path, 0755) == 0);
	must(setenv("MSHARE_ROOT", path, 1) == 0);
	return path;
}

/* A /dev/shm of one's own, and no msharefs whose root would be the default. */
static inline void own_dev_shm(void)
{
	private_mounts();
	while (umount2("/sys/fs/mshare", MNT_DETACH) == 0)
		;
	must(mount("mshare-test", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") == 0);
}

/* Bytes that the root's mount has left. */
static inline uint64_t bytes_free(const char *path)
{
	struct statfs sf;

	must(statfs(path, &sf) == 0);
	return (uint64_t)sf.f_bfree * (uint64_t)sf.f_bsize;
}

#endif
