/* SPDX-License-Identifier: MIT */
/*
 * A tmpfs of the program's own, mounted where nobody else sees it, as the root
 * of the shm back end. It goes with the program.
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

/* options as for mount -o, "size=8m". The mount point's path. */
static inline const char *own_tmpfs(const char *options)
{
	static char path[PATH_MAX];

	only_shm("it fills a tmpfs of its own");
	private_mounts();
	snprintf(path, sizeof(path), "%s", temp_path("tmpfs"));
	must(mkdir(path, 0755) == 0 || errno == EEXIST);
	must(mount("mshare-test", path, "tmpfs", MS_NOSUID | MS_NODEV, options) == 0);
	must(chmod(path, 0755) == 0);
	must(setenv("MSHARE_ROOT", path, 1) == 0);
	return path;
}

/* Bytes that the tmpfs has left. */
static inline uint64_t bytes_free(const char *path)
{
	struct statfs sf;

	must(statfs(path, &sf) == 0);
	return (uint64_t)sf.f_bfree * (uint64_t)sf.f_bsize;
}

#endif
