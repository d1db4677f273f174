// SPDX-License-Identifier: GPL-2.0-only
/*
 * msharefs as a file system: names, directories, rights of other users, limits
 * of a mount, and that a mount stays while somebody is attached to what is on
 * it. Regions as such are in abi.c and basic.c.
 */
#include <dirent.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/un.h>

#include "mshare_test.h"

#ifndef RENAME_EXCHANGE
#define RENAME_NOREPLACE	(1 << 0)
#define RENAME_EXCHANGE		(1 << 1)
#define RENAME_WHITEOUT		(1 << 2)
#endif

/* Two users who are not root, and a group that both may be in. */
#define ALICE	12001
#define BOB	12002
#define GROUP	12100

FIXTURE(fs) {
	struct env env;
	char path[PATH_MAX];
	char other[PATH_MAX];
};

FIXTURE_SETUP(fs)
{
	ENV_ENTER(&self->env, NULL);
	umask(022);
}

FIXTURE_TEARDOWN(fs)
{
	ENV_LEAVE(&self->env);
}

/* The name in the mount; two of them are good at a time. */
static const char *in(struct _test_data_fs *self, const char *name)
{
	snprintf(self->path, sizeof(self->path), "%s/%s", self->env.dir, name);
	return self->path;
}

static const char *in2(struct _test_data_fs *self, const char *name)
{
	snprintf(self->other, sizeof(self->other), "%s/%s", self->env.dir, name);
	return self->other;
}

#define REFUSED(error, call) do { \
	EXPECT_EQ(-1, call); \
	EXPECT_EQ(error, errno); \
} while (0)

TEST_F(fs, mount_point)
{
	struct stat st;

	EXPECT_EQ(0, stat("/sys/fs/mshare", &st));
	EXPECT_TRUE(S_ISDIR(st.st_mode));
}

TEST_F(fs, root)
{
	struct statfs sfs;
	struct stat st;

	ASSERT_EQ(0, stat(self->env.dir, &st));
	EXPECT_EQ(S_IFDIR | 01777, st.st_mode);
	EXPECT_EQ(0, st.st_uid);
	EXPECT_EQ(0, st.st_gid);
	ASSERT_EQ(0, statfs(self->env.dir, &sfs));
	EXPECT_EQ(MSHAREFS_SUPER_MAGIC, sfs.f_type);
	EXPECT_EQ(psize, sfs.f_bsize);
	EXPECT_EQ(255, sfs.f_namelen);
	EXPECT_LT(0, sfs.f_blocks);
	EXPECT_EQ(sfs.f_blocks, sfs.f_bfree);
	EXPECT_LT(0, sfs.f_files);
	/* Half of memory, as tmpfs. */
	EXPECT_GE(meminfo("MemTotal") * 1024 / 2, sfs.f_blocks * psize);
	EXPECT_LE(meminfo("MemTotal") * 1024 / 4, sfs.f_blocks * psize);
}

TEST_F(fs, instances)
{
	char dir[] = "/tmp/mshare.XXXXXX", path[64];
	int fd = region_new(self->env.dir, "region", SLOT);

	ASSERT_LE(0, fd);
	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, env_mount(dir, NULL));
	snprintf(path, sizeof(path), "%s/region", dir);
	REFUSED(ENOENT, access(path, F_OK));
	EXPECT_LE(0, region_new(dir, "region", SLOT));
	drop_all(dir);
	EXPECT_EQ(0, umount(dir));
	rmdir(dir);
}

TEST_F(fs, options)
{
	static const char * const bad[] = {
		"size=", "size=x", "nr_inodes=-1", "mode=8", "mode=17777",
		"uid=-2x", "gid=x", "nonsense", "size=1m,nonsense=1",
	};
	char dir[] = "/tmp/mshare.XXXXXX";
	struct stat st;

	ASSERT_NE(NULL, mkdtemp(dir));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int error = env_mount(dir, bad[i]);

		EXPECT_EQ(-EINVAL, error) {
			TH_LOG("'%s'", bad[i]);
		}
		if (!error)
			umount(dir);
	}
	ASSERT_EQ(0, env_mount(dir, "mode=0750,uid=12001,gid=12100"));
	ASSERT_EQ(0, stat(dir, &st));
	EXPECT_EQ(S_IFDIR | 0750, st.st_mode);
	EXPECT_EQ(ALICE, st.st_uid);
	EXPECT_EQ(GROUP, st.st_gid);
	EXPECT_EQ(0, umount(dir));
	rmdir(dir);
}

/* Somebody who looks for how a mount was made finds it where he looks. */
TEST_F(fs, options_are_shown)
{
	static char mounts[1 << 16];
	char dir[] = "/tmp/mshare.XXXXXX", *line, *end;

	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, env_mount(dir, "size=4m,nr_inodes=20,mode=0750,uid=12001"));
	ASSERT_LT(0, read_file("/proc/self/mounts", mounts, sizeof(mounts)));
	line = strstr(mounts, dir);
	ASSERT_NE(NULL, line);
	end = strchr(line, '\n');
	if (end)
		*end = 0;
	EXPECT_NE(NULL, strstr(line, "msharefs"));
	EXPECT_NE(NULL, strstr(line, "size=4096k"));
	EXPECT_NE(NULL, strstr(line, "nr_inodes=20"));
	EXPECT_NE(NULL, strstr(line, "mode=750"));
	EXPECT_NE(NULL, strstr(line, "uid=12001")) {
		TH_LOG("%s", line);
	}
	EXPECT_EQ(0, umount(dir));
	rmdir(dir);
}

TEST_F(fs, files)
{
	char byte = 0, name[300];
	struct stat st;
	int fd, pipes[2], devnull;
	loff_t offset = 0;

	fd = open(in(self, "region"), O_CREAT | O_EXCL | O_RDWR, 0666);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(S_IFREG | 0644, st.st_mode);
	EXPECT_EQ(1, st.st_nlink);
	EXPECT_EQ(0, st.st_size);
	REFUSED(EEXIST, open(in(self, "region"), O_CREAT | O_EXCL | O_RDWR, 0));

	ASSERT_EQ(0, ftruncate(fd, SLOT));
	ASSERT_EQ(0, pipe(pipes));
	devnull = open("/dev/null", O_RDWR);
	REFUSED(EINVAL, read(fd, &byte, 1));
	REFUSED(EINVAL, write(fd, &byte, 1));
	REFUSED(EINVAL, pread(fd, &byte, 1, psize));
	REFUSED(EINVAL, pwrite(fd, &byte, 1, psize));
	EXPECT_EQ(-1, sendfile(devnull, fd, &offset, psize));
	EXPECT_EQ(-1, sendfile(fd, devnull, NULL, psize));
	EXPECT_EQ(-1, splice(fd, NULL, pipes[1], NULL, psize, 0));
	EXPECT_EQ(-1, copy_file_range(fd, NULL, fd, NULL, psize, 0));
	EXPECT_EQ(0, fsync(fd));
	EXPECT_EQ(0, fdatasync(fd));
	EXPECT_EQ(SLOT, lseek(fd, 0, SEEK_END));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(SLOT, st.st_size);

	memset(name, 'x', sizeof(name));
	name[255] = 0;
	EXPECT_LE(0, open(in(self, name), O_CREAT | O_RDWR, 0600));
	name[255] = 'x';
	name[256] = 0;
	REFUSED(ENAMETOOLONG, open(in(self, name), O_CREAT | O_RDWR, 0600));
}

TEST_F(fs, locks)
{
	struct flock lock = { .l_type = F_WRLCK, .l_len = 1 };
	int fd = region_new(self->env.dir, "region", SLOT), other;

	ASSERT_LE(0, fd);
	other = reopen(fd, O_RDWR);
	EXPECT_EQ(0, fcntl(fd, F_OFD_SETLK, &lock));
	REFUSED(EAGAIN, fcntl(other, F_OFD_SETLK, &lock));
	EXPECT_EQ(0, flock(fd, LOCK_EX));
	REFUSED(EWOULDBLOCK, flock(other, LOCK_EX | LOCK_NB));
}

TEST_F(fs, directories)
{
	struct stat st;
	int fd;

	EXPECT_EQ(0, mkdir(in(self, "a"), 0777));
	ASSERT_EQ(0, stat(in(self, "a"), &st));
	EXPECT_EQ(S_IFDIR | 0755, st.st_mode);
	EXPECT_EQ(2, st.st_nlink);
	EXPECT_EQ(0, mkdir(in(self, "a/b"), 0700));
	ASSERT_EQ(0, stat(in(self, "a"), &st));
	EXPECT_EQ(3, st.st_nlink);
	REFUSED(EEXIST, mkdir(in(self, "a"), 0777));
	REFUSED(ENOENT, mkdir(in(self, "x/y"), 0777));
	REFUSED(ENOTEMPTY, rmdir(in(self, "a")));
	fd = region_new(self->env.dir, "a/b/region", SLOT);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, region_map(fd, 0, psize, RW));
	REFUSED(ENOTEMPTY, rmdir(in(self, "a/b")));
	REFUSED(ENOTDIR, rmdir(in(self, "a/b/region")));
	REFUSED(ENOTDIR, mkdir(in(self, "a/b/region/c"), 0777));
	REFUSED(EISDIR, unlink(in(self, "a/b")));
	REFUSED(EISDIR, open(in(self, "a"), O_RDWR));
	EXPECT_EQ(0, unlink(in(self, "a/b/region")));
	EXPECT_EQ(0, rmdir(in(self, "a/b")));
	EXPECT_EQ(0, rmdir(in(self, "a")));
	EXPECT_EQ(psize, region_info(fd).mapped);
}

/* The set group bit of a directory, as everywhere. */
TEST_F(fs, group_of_directory)
{
	struct stat st;
	int fd;

	ASSERT_EQ(0, mkdir(in(self, "shared"), 0770));
	ASSERT_EQ(0, chown(in(self, "shared"), ALICE, GROUP));
	ASSERT_EQ(0, chmod(in(self, "shared"), 02770));
	fd = region_new(self->env.dir, "shared/region", SLOT);
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(GROUP, st.st_gid);
	EXPECT_EQ(0, st.st_uid);
	ASSERT_EQ(0, mkdir(in(self, "shared/sub"), 0770));
	ASSERT_EQ(0, stat(in(self, "shared/sub"), &st));
	EXPECT_EQ(GROUP, st.st_gid);
	EXPECT_TRUE(st.st_mode & S_ISGID);
}

TEST_F(fs, read_directory)
{
	int n = by_scale(50, 1000), seen = 0, strange = 0;
	static char found[1000];
	struct dirent *e;
	char name[32];
	bool info = false;
	DIR *dir;

	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "region-%d", i);
		int fd = region_new(self->env.dir, name, 0);

		ASSERT_LE(0, fd);
		close(fd);
	}
	dir = opendir(self->env.dir);
	ASSERT_NE(NULL, dir);
	while ((e = readdir(dir))) {
		int i;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		EXPECT_EQ(DT_REG, e->d_type);
		if (!strcmp(e->d_name, MSHAREFS_INFO_NAME))
			info = true;
		else if (sscanf(e->d_name, "region-%d", &i) == 1 && i < n &&
			 !found[i]++)
			seen++;
		else
			strange++;
	}
	EXPECT_EQ(n, seen);
	EXPECT_EQ(0, strange);
	EXPECT_TRUE(info);
	/* Removed on the way: each is seen at most once, and the end comes. */
	rewinddir(dir);
	seen = 0;
	while ((e = readdir(dir))) {
		if (strncmp(e->d_name, "region-", 7))
			continue;
		EXPECT_EQ(0, unlinkat(dirfd(dir), e->d_name, 0));
		seen++;
	}
	EXPECT_EQ(n, seen);
	closedir(dir);
}

TEST_F(fs, rename)
{
	int a, b, c;
	struct stat sa, st;

	ASSERT_EQ(0, mkdir(in(self, "d"), 0755));
	a = region_new(self->env.dir, "a", SLOT);
	b = region_new(self->env.dir, "b", 2 * SLOT);
	c = region_new(self->env.dir, "d/c", 3 * SLOT);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	ASSERT_LE(0, c);
	ASSERT_EQ(0, fstat(a, &sa));
	ASSERT_EQ(0, region_map(a, 0, psize, RW));

	EXPECT_EQ(0, rename(in(self, "a"), in2(self, "d/a")));
	REFUSED(ENOENT, stat(in(self, "a"), &st));
	ASSERT_EQ(0, stat(in(self, "d/a"), &st));
	EXPECT_EQ(sa.st_ino, st.st_ino);
	REFUSED(EEXIST, renameat2(AT_FDCWD, in(self, "d/a"), AT_FDCWD,
				  in2(self, "d/c"), RENAME_NOREPLACE));
	EXPECT_EQ(0, renameat2(AT_FDCWD, in(self, "d/a"), AT_FDCWD,
			       in2(self, "b"), RENAME_EXCHANGE));
	ASSERT_EQ(0, stat(in(self, "b"), &st));
	EXPECT_EQ(SLOT, st.st_size);
	ASSERT_EQ(0, stat(in(self, "d/a"), &st));
	EXPECT_EQ(2 * SLOT, st.st_size);
	/* Over another one: that has lost its name, no more. */
	EXPECT_EQ(0, rename(in(self, "b"), in2(self, "d/c")));
	ASSERT_EQ(0, stat(in(self, "d/c"), &st));
	EXPECT_EQ(SLOT, st.st_size);
	ASSERT_EQ(0, fstat(c, &st));
	EXPECT_EQ(0, st.st_nlink);
	EXPECT_EQ(3 * SLOT, st.st_size);
	EXPECT_EQ(0, region_map(c, 0, psize, RW));
	EXPECT_EQ(psize, region_info(a).mapped);

	/* Directories, and between directories and regions. */
	ASSERT_EQ(0, mkdir(in(self, "e"), 0755));
	REFUSED(ENOTEMPTY, rename(in(self, "e"), in2(self, "d")));
	REFUSED(EINVAL, rename(in(self, "d"), in2(self, "d/e")));
	REFUSED(EISDIR, rename(in(self, "d/a"), in2(self, "e")));
	REFUSED(ENOTDIR, rename(in(self, "e"), in2(self, "d/a")));
	EXPECT_EQ(0, renameat2(AT_FDCWD, in(self, "e"), AT_FDCWD,
			       in2(self, "d/a"), RENAME_EXCHANGE));
	ASSERT_EQ(0, stat(self->env.dir, &st));
	EXPECT_EQ(3, st.st_nlink);
	ASSERT_EQ(0, stat(in(self, "d"), &st));
	EXPECT_EQ(3, st.st_nlink);
	EXPECT_EQ(0, rename(in(self, "d"), in2(self, "f")));
	EXPECT_EQ(0, access(in(self, "f/c"), F_OK));
	REFUSED(EINVAL, renameat2(AT_FDCWD, in(self, "f/c"), AT_FDCWD,
				  in2(self, "g"), RENAME_WHITEOUT));
}

TEST_F(fs, link)
{
	int fd = region_new(self->env.dir, "a", SLOT);
	struct stat st;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, mkdir(in(self, "d"), 0755));
	EXPECT_EQ(0, link(in(self, "a"), in2(self, "d/b")));
	REFUSED(EEXIST, link(in(self, "a"), in2(self, "d/b")));
	REFUSED(EPERM, link(in(self, "d"), in2(self, "e")));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(2, st.st_nlink);
	EXPECT_EQ(0, unlink(in(self, "a")));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(1, st.st_nlink);
	EXPECT_EQ(0, close(fd));
	/* The window is still there, under the other name. */
	ASSERT_EQ(0, stat(in(self, "d/b"), &st));
	EXPECT_EQ(SLOT, st.st_size);
}

TEST_F(fs, tmpfile)
{
	int fd = region_new(self->env.dir, NULL, SLOT), other, dir;
	char path[64];
	struct stat st;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, region_map(fd, 0, psize, RW));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(0, st.st_nlink);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	EXPECT_EQ(0, linkat(AT_FDCWD, path, AT_FDCWD, in(self, "name"),
			    AT_SYMLINK_FOLLOW));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(1, st.st_nlink);
	EXPECT_EQ(0, close(fd));
	other = open(in(self, "name"), O_RDWR);
	ASSERT_LE(0, other);
	EXPECT_EQ(psize, region_info(other).mapped);

	/* O_EXCL: no name, ever. */
	dir = open(self->env.dir, O_RDONLY | O_DIRECTORY);
	fd = openat(dir, ".", O_TMPFILE | O_EXCL | O_RDWR, 0600);
	ASSERT_LE(0, fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	REFUSED(ENOENT, linkat(AT_FDCWD, path, AT_FDCWD, in(self, "other"),
			       AT_SYMLINK_FOLLOW));
}

TEST_F(fs, nothing_but_regions)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd;

	REFUSED(EPERM, symlink("target", in(self, "link")));
	REFUSED(EPERM, mknod(in(self, "fifo"), S_IFIFO | 0600, 0));
	REFUSED(EPERM, mknod(in(self, "socket"), S_IFSOCK | 0600, 0));
	REFUSED(EPERM, mknod(in(self, "char"), S_IFCHR | 0600, 0x103));
	REFUSED(EPERM, mknod(in(self, "block"), S_IFBLK | 0600, 0x700));
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", in(self, "bound"));
	REFUSED(EPERM, bind(fd, (void *)&un, sizeof(un)));
	/* That is a region. */
	EXPECT_EQ(0, mknod(in(self, "region"), S_IFREG | 0600, 0));
	fd = open(in(self, "region"), O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, ftruncate(fd, SLOT));
}

static long read_info_as(long path, long uid, long unused)
{
	char text[64];

	return setgid(uid) || setuid(uid) ||
	       read_file((char *)path, text, sizeof(text)) <= 0 ||
	       strtoul(text, NULL, 10) != SLOT;
}

TEST_F(fs, info_name)
{
	struct stat st;
	int fd;

	ASSERT_EQ(0, mkdir(in(self, "d"), 0755));
	ASSERT_LE(0, region_new(self->env.dir, "a", SLOT));
	in(self, MSHAREFS_INFO_NAME);
	EXPECT_EQ(0, in_child(read_info_as, (long)self->path, ALICE, 0));
	ASSERT_EQ(0, stat(self->path, &st));
	EXPECT_TRUE(S_ISREG(st.st_mode));
	EXPECT_EQ(0, st.st_mode & 0222);
	REFUSED(EPERM, unlink(self->path));
	REFUSED(EPERM, rename(self->path, in2(self, "b")));
	REFUSED(EPERM, rename(self->path, in2(self, "d/b")));
	REFUSED(EPERM, rename(in2(self, "a"), self->path));
	REFUSED(EPERM, renameat2(AT_FDCWD, in2(self, "a"), AT_FDCWD, self->path,
				 RENAME_EXCHANGE));
	REFUSED(EPERM, renameat2(AT_FDCWD, self->path, AT_FDCWD, in2(self, "a"),
				 RENAME_EXCHANGE));
	REFUSED(EEXIST, open(self->path, O_CREAT | O_EXCL | O_RDWR, 0600));
	REFUSED(EEXIST, mkdir(self->path, 0700));
	REFUSED(EEXIST, link(in2(self, "a"), self->path));
	EXPECT_EQ(-1, truncate(self->path, SLOT));
	fd = open(self->path, O_WRONLY);
	if (fd >= 0) {
		EXPECT_EQ(-1, write(fd, "1", 1));
		close(fd);
	}
	EXPECT_EQ(0, in_child(read_info_as, (long)self->path, ALICE, 0));
	/* Reserved in the root; elsewhere it is a name. */
	EXPECT_LE(0, region_new(self->env.dir, "d/" MSHAREFS_INFO_NAME, SLOT));
	EXPECT_EQ(0, unlink(in(self, "d/" MSHAREFS_INFO_NAME)));
}

/* ---- other users --------------------------------------------------------- */

static long become(long uid, long with_group, long unused)
{
	gid_t group = GROUP;

	if (setgroups(with_group ? 1 : 0, &group) || setgid(uid) || setuid(uid))
		return -errno;
	umask(022);
	/* Changing who one is takes that away. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	return 0;
}

static long do_open(long path, long flags, long mode)
{
	int fd = open((char *)path, flags | O_CLOEXEC, mode);

	return fd < 0 ? -errno : fd;
}

static long do_unlink(long path, long unused, long unused2)
{
	return unlink((char *)path) ? -errno : 0;
}

static long do_rename(long from, long to, long unused)
{
	return rename((char *)from, (char *)to) ? -errno : 0;
}

static long do_chmod(long path, long mode, long unused)
{
	return chmod((char *)path, mode) ? -errno : 0;
}

static long do_chown(long path, long uid, long gid)
{
	return chown((char *)path, uid, gid) ? -errno : 0;
}

static long do_truncate(long path, long size, long unused)
{
	return truncate((char *)path, size) ? -errno : 0;
}

static long do_region_map(long fd, long offset, long size)
{
	return region_map(fd, offset, size, RW);
}

static long do_region_unmap(long fd, long offset, long size)
{
	return region_unmap(fd, offset, size);
}

TEST_F(fs, rights)
{
	struct peer alice, bob;
	long path, mine, fd, map;
	int other;

	/* Before there are peers: they have what is in memory now. */
	path = (long)in(self, "region");
	mine = (long)in2(self, "mine");
	ASSERT_EQ(0, peer_start(&alice));
	ASSERT_EQ(0, peer_start(&bob));
	ASSERT_EQ(0, peer_call(&alice, become, ALICE, 1, 0));
	ASSERT_EQ(0, peer_call(&bob, become, BOB, 0, 0));

	fd = peer_call(&alice, do_open, path, O_CREAT | O_RDWR, 0600);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EACCES, peer_call(&bob, do_truncate, path, SLOT, 0));
	EXPECT_EQ(0, peer_call(&alice, do_truncate, path, SLOT, 0));
	EXPECT_EQ(0, peer_call(&alice, do_region_map, fd, 0, psize));
	EXPECT_EQ(-EACCES, peer_call(&bob, do_open, path, O_RDONLY, 0));
	EXPECT_EQ(-EACCES, peer_call(&bob, do_open, path, O_RDWR, 0));
	/* 1777: what is somebody else's stays where it is. */
	EXPECT_EQ(-EPERM, peer_call(&bob, do_unlink, path, 0, 0));
	EXPECT_EQ(-EPERM, peer_call(&bob, do_rename, path, mine, 0));
	EXPECT_EQ(-EPERM, peer_call(&bob, do_chmod, path, 0666, 0));
	EXPECT_EQ(-EPERM, peer_call(&bob, do_chown, path, BOB, -1));
	EXPECT_EQ(-EPERM, peer_call(&alice, do_chown, path, BOB, -1));
	EXPECT_EQ(0, peer_call(&alice, do_chown, path, -1, GROUP));

	/* For others to read. */
	EXPECT_EQ(0, peer_call(&alice, do_chmod, path, 0644, 0));
	EXPECT_EQ(-EACCES, peer_call(&bob, do_open, path, O_RDWR, 0));
	EXPECT_EQ(-EACCES, peer_call(&bob, do_open, path, O_WRONLY, 0));
	fd = peer_call(&bob, do_open, path, O_RDONLY, 0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EACCES, peer_call(&bob, do_attach, fd, 0, RW));
	EXPECT_EQ(-EACCES, peer_call(&bob, do_region_map, fd, psize, psize));
	EXPECT_EQ(-EACCES, peer_call(&bob, do_region_unmap, fd, 0, psize));
	map = peer_call(&bob, do_attach, fd, 0, PROT_READ);
	ASSERT_EQ(0, map % SLOT);
	other = open(in(self, "region"), O_RDWR);
	ASSERT_LE(0, other);
	EXPECT_EQ(0, peer_call(&bob, do_read, map, 0, 0));
	EXPECT_EQ(SIG(SIGSEGV), peer_call(&bob, do_write, map, 1, 0));
	/* Taken back: for who comes next, not from who is there, as with files. */
	EXPECT_EQ(0, peer_call(&alice, do_chmod, path, 0600, 0));
	EXPECT_EQ(0, peer_call(&bob, do_read, map, 0, 0));
	EXPECT_EQ(-EACCES, peer_call(&bob, do_open, path, O_RDONLY, 0));

	/* For the group. */
	EXPECT_EQ(0, peer_call(&alice, do_chmod, path, 0660, 0));
	ASSERT_EQ(0, peer_stop(&bob));
	ASSERT_EQ(0, peer_start(&bob));
	ASSERT_EQ(0, peer_call(&bob, become, BOB, 1, 0));
	fd = peer_call(&bob, do_open, path, O_RDWR, 0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, peer_call(&bob, do_region_map, fd, psize, psize));
	EXPECT_EQ(2 * psize, region_info(other).mapped);
	EXPECT_EQ(0, peer_call(&alice, do_unlink, path, 0, 0));
}

TEST_F(fs, rights_of_directories)
{
	struct peer alice, bob;
	long path;

	ASSERT_EQ(0, mkdir(in(self, "hers"), 0700));
	ASSERT_EQ(0, chown(in(self, "hers"), ALICE, ALICE));
	path = (long)in(self, "hers/region");
	ASSERT_EQ(0, peer_start(&alice));
	ASSERT_EQ(0, peer_start(&bob));
	ASSERT_EQ(0, peer_call(&alice, become, ALICE, 0, 0));
	ASSERT_EQ(0, peer_call(&bob, become, BOB, 0, 0));
	EXPECT_EQ(-EACCES, peer_call(&bob, do_open, path, O_CREAT | O_RDWR, 0666));
	EXPECT_LE(0, peer_call(&alice, do_open, path, O_CREAT | O_RDWR, 0666));
	EXPECT_EQ(-EACCES, peer_call(&bob, do_open, path, O_RDONLY, 0));
	EXPECT_EQ(-EACCES, peer_call(&bob, do_unlink, path, 0, 0));
	ASSERT_EQ(0, chmod(in2(self, "hers"), 0755));
	EXPECT_LE(0, peer_call(&bob, do_open, path, O_RDONLY, 0));
	EXPECT_EQ(-EACCES, peer_call(&bob, do_unlink, path, 0, 0));
	ASSERT_EQ(0, chmod(in2(self, "hers"), 0777));
	EXPECT_EQ(0, peer_call(&bob, do_unlink, path, 0, 0));
	REFUSED(ENOENT, access((char *)path, F_OK));
}

/* A descriptor is a right, whoever has it. */
TEST_F(fs, descriptor_handed_on)
{
	int fd = region_new(self->env.dir, "region", SLOT), ro;
	struct peer bob;
	long map;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, region_map(fd, 0, psize, RW));
	ro = reopen(fd, O_RDONLY);
	ASSERT_EQ(0, peer_start(&bob));
	ASSERT_EQ(0, peer_call(&bob, become, BOB, 0, 0));
	map = peer_call(&bob, do_attach, fd, 0, RW);
	ASSERT_EQ(0, map % SLOT);
	EXPECT_EQ(0, peer_call(&bob, do_write, map, 7, 0));
	EXPECT_EQ(0, peer_call(&bob, do_detach, map, SLOT, 0));
	EXPECT_EQ(-EACCES, peer_call(&bob, do_attach, ro, 0, RW));
	EXPECT_EQ(-EACCES, peer_call(&bob, do_region_map, ro, psize, psize));
}

/* ---- limits -------------------------------------------------------------- */

TEST_F(fs, nr_inodes)
{
	char dir[] = "/tmp/mshare.XXXXXX", name[32], path[64];
	struct statfs sfs;
	int fd = -1, n;

	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, env_mount(dir, "nr_inodes=10"));
	for (n = 0; n < 20; n++) {
		snprintf(name, sizeof(name), "%d", n);
		fd = region_new(dir, name, 0);
		if (fd < 0)
			break;
		close(fd);
	}
	EXPECT_EQ(-ENOSPC, fd);
	/* The root and the file in it may count. */
	EXPECT_LE(8, n);
	EXPECT_GE(10, n);
	snprintf(path, sizeof(path), "%s/dir", dir);
	REFUSED(ENOSPC, mkdir(path, 0700));
	EXPECT_EQ(-ENOSPC, region_new(dir, NULL, 0));
	ASSERT_EQ(0, statfs(dir, &sfs));
	EXPECT_EQ(10, sfs.f_files);
	EXPECT_EQ(0, sfs.f_ffree);
	/* Another name for the same file is not another file. */
	snprintf(path, sizeof(path), "%s/0", dir);
	fd = open(path, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, unlink(path));
	/* It is open: it is there. */
	EXPECT_EQ(-ENOSPC, region_new(dir, "more", 0));
	EXPECT_EQ(0, close(fd));
	EXPECT_LE(0, region_new(dir, "more", 0));
	EXPECT_EQ(-ENOSPC, region_new(dir, "yet more", 0));
	EXPECT_EQ(0, mount("none", dir, "msharefs", MS_REMOUNT, "nr_inodes=12"));
	EXPECT_LE(0, region_new(dir, "yet more", 0));
	REFUSED(EINVAL, mount("none", dir, "msharefs", MS_REMOUNT,
			      "nr_inodes=3"));
	drop_all(dir);
	EXPECT_EQ(0, umount(dir));
	rmdir(dir);
}

TEST_F(fs, size)
{
	char dir[] = "/tmp/mshare.XXXXXX";
	uint64_t size = 64 * psize;
	char options[64];
	struct statfs sfs;
	int a, b;

	ASSERT_NE(NULL, mkdtemp(dir));
	snprintf(options, sizeof(options), "size=%lu", (long)size);
	ASSERT_EQ(0, env_mount(dir, options));
	/* Windows cost nothing. */
	a = region_new(dir, "a", 64 * SLOT);
	b = region_new(dir, "b", 64 * SLOT);
	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	EXPECT_EQ(-ENOSPC, region_map(a, 0, size + psize, RW));
	EXPECT_EQ(0, region_info(a).mapped);
	EXPECT_EQ(0, region_map(a, 0, 48 * psize, RW));
	EXPECT_EQ(-ENOSPC, region_map(b, 0, 17 * psize, RW));
	EXPECT_EQ(0, region_map(b, 0, 16 * psize, RW));
	EXPECT_EQ(-ENOSPC, region_map(b, SLOT, psize, RW));
	ASSERT_EQ(0, statfs(dir, &sfs));
	EXPECT_EQ(64, sfs.f_blocks);
	EXPECT_EQ(0, sfs.f_bfree);
	EXPECT_EQ(0, sfs.f_bavail);
	/* Who does not reserve gets no promise, and needs none. */
	EXPECT_EQ(0, region_map_flags(b, 2 * SLOT, SLOT, RW, MAP_SHARED |
				      MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE,
				      -1, 0));
	/* Parts, twice, across mapped and not: counted once. */
	EXPECT_EQ(0, region_unmap(a, 8 * psize, 8 * psize));
	EXPECT_EQ(0, region_unmap(a, 0, 16 * psize));
	EXPECT_EQ(0, region_unmap(a, 0, 16 * psize));
	EXPECT_EQ(0, region_unmap(b, 2 * SLOT, SLOT));
	ASSERT_EQ(0, statfs(dir, &sfs));
	EXPECT_EQ(16, sfs.f_bfree);
	EXPECT_EQ(-ENOSPC, region_map(b, SLOT, 17 * psize, RW));
	EXPECT_EQ(0, region_map(b, SLOT, 16 * psize, RW));
	/* Protection changes neither. */
	EXPECT_EQ(0, region_protect(b, SLOT, 4 * psize, PROT_NONE));
	EXPECT_EQ(-ENOSPC, region_map(b, 2 * SLOT, psize, RW));
	EXPECT_EQ(0, region_unmap(b, SLOT, 16 * psize));
	EXPECT_EQ(0, region_map(b, SLOT, 16 * psize, PROT_READ));

	snprintf(options, sizeof(options), "size=%lu", (long)(2 * size));
	EXPECT_EQ(0, mount("none", dir, "msharefs", MS_REMOUNT, options));
	EXPECT_EQ(0, region_map(b, 2 * SLOT, 64 * psize, RW));
	EXPECT_EQ(-ENOSPC, region_map(b, 3 * SLOT, psize, RW));
	/* Below what is promised already. */
	snprintf(options, sizeof(options), "size=%lu", (long)size);
	REFUSED(EINVAL, mount("none", dir, "msharefs", MS_REMOUNT, options));
	EXPECT_EQ(0, region_unmap(b, 2 * SLOT, 64 * psize));
	EXPECT_EQ(0, mount("none", dir, "msharefs", MS_REMOUNT, options));
	EXPECT_EQ(-ENOSPC, region_map(b, 3 * SLOT, psize, RW));

	/* With the region, its share goes. */
	snprintf(options, sizeof(options), "%s/a", dir);
	EXPECT_EQ(0, unlink(options));
	EXPECT_EQ(-ENOSPC, region_map(b, 3 * SLOT, psize, RW));
	EXPECT_EQ(0, close(a));
	EXPECT_EQ(0, region_map(b, 3 * SLOT, 32 * psize, RW));
	EXPECT_EQ(-ENOSPC, region_map(b, 4 * SLOT, psize, RW));
	drop_all(dir);
	EXPECT_EQ(0, umount(dir));
	rmdir(dir);
}

/* Files that are mapped have their own place. */
TEST_F(fs, size_is_of_memory)
{
	char dir[] = "/tmp/mshare.XXXXXX";
	int file = memfd_create("file", MFD_CLOEXEC), fd;

	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, env_mount(dir, "size=16k"));
	ASSERT_EQ(0, ftruncate(file, 64 * psize));
	fd = region_new(dir, "region", SLOT);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, region_map_file(fd, 0, 64 * psize, RW, file, 0));
	EXPECT_EQ(0, region_map(fd, SLOT / 2, 16 * KIB, RW));
	EXPECT_EQ(-ENOSPC, region_map(fd, SLOT / 4, psize, RW));
	drop_all(dir);
	EXPECT_EQ(0, umount(dir));
	rmdir(dir);
}

TEST_F(fs, size_suffixes)
{
	static const struct { const char *options; unsigned long size; } good[] = {
		{ "size=64k", 64 * KIB }, { "size=4m", 4 * MIB },
		{ "size=1g", GIB }, { "size=8192", 8 * KIB },
	};
	char dir[] = "/tmp/mshare.XXXXXX";
	struct statfs sfs;

	ASSERT_NE(NULL, mkdtemp(dir));
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		ASSERT_EQ(0, env_mount(dir, good[i].options));
		ASSERT_EQ(0, statfs(dir, &sfs));
		EXPECT_EQ(good[i].size, sfs.f_blocks * psize);
		EXPECT_EQ(0, umount(dir));
	}
	rmdir(dir);
}

/* ---- mounts that go, or change ------------------------------------------- */

TEST_F(fs, busy_while_attached)
{
	char dir[] = "/tmp/mshare.XXXXXX";
	char path[64];
	char *map;
	int fd;

	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, env_mount(dir, NULL));
	fd = region_new(dir, "region", SLOT);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, region_map(fd, 0, psize, RW));
	map = region_attach(fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, map);
	REFUSED(EBUSY, umount(dir));
	EXPECT_EQ(0, close(fd));
	REFUSED(EBUSY, umount(dir));
	snprintf(path, sizeof(path), "%s/region", dir);
	EXPECT_EQ(0, unlink(path));
	REFUSED(EBUSY, umount(dir));
	poke(map, 1);
	EXPECT_EQ(1, peek(map));
	EXPECT_EQ(0, munmap(map, SLOT));
	EXPECT_EQ(0, umount(dir));
	rmdir(dir);
}

/* Out of sight is not out of mind. */
TEST_F(fs, unmounted_lazily)
{
	char dir[] = "/tmp/mshare.XXXXXX";
	char *map;
	int fd;

	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, env_mount(dir, NULL));
	fd = region_new(dir, "region", SLOT);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, region_map(fd, 0, 4 * psize, RW));
	map = region_attach(fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, map);
	fill_pages(map, 4 * psize, 1);
	EXPECT_EQ(0, umount2(dir, MNT_DETACH));
	EXPECT_EQ(0, check_pages(map, 4 * psize, 1));
	EXPECT_EQ(0, region_unmap(fd, 0, psize));
	EXPECT_EQ(SIG(SIGSEGV), do_read((long)map, 0, 0));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(mix(1, psize), peek(map + psize));
	EXPECT_EQ(0, munmap(map, SLOT));
	rmdir(dir);
}

TEST_F(fs, read_only_mount)
{
	char dir[] = "/tmp/mshare.XXXXXX", path[64];
	int fd;
	char *map;

	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, env_mount(dir, NULL));
	fd = region_new(dir, "region", SLOT);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, region_map(fd, 0, psize, RW));
	/* Somebody can still write. */
	REFUSED(EBUSY, mount("none", dir, "msharefs", MS_REMOUNT | MS_RDONLY,
			     NULL));
	ASSERT_EQ(0, close(fd));
	EXPECT_EQ(0, mount("none", dir, "msharefs", MS_REMOUNT | MS_RDONLY, NULL));
	EXPECT_EQ(-EROFS, region_new(dir, "other", 0));
	snprintf(path, sizeof(path), "%s/region", dir);
	REFUSED(EROFS, open(path, O_RDWR));
	REFUSED(EROFS, unlink(path));
	fd = open(path, O_RDONLY);
	ASSERT_LE(0, fd);
	map = region_attach(fd, NULL, PROT_READ);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, peek(map));
	EXPECT_EQ(SIG(SIGSEGV), do_write((long)map, 1, 0));
	EXPECT_EQ(0, munmap(map, SLOT));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(0, umount(dir));
	rmdir(dir);
}

/* Names are the directory's; of what is on the mount, umount frees all. */
TEST_F(fs, umount_with_regions)
{
	char dir[] = "/tmp/mshare.XXXXXX", name[32];
	long regions;
	int fd;

	debugfs_mount();
	regions = debug_count("regions");
	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, env_mount(dir, NULL));
	for (int i = 0; i < 20; i++) {
		char *map;

		snprintf(name, sizeof(name), "%d", i);
		fd = region_new(dir, name, SLOT);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, region_map(fd, 0, 4 * psize, RW));
		map = region_attach(fd, NULL, RW);
		ASSERT_NE(MAP_FAILED, map);
		fill_pages(map, 4 * psize, i);
		ASSERT_EQ(0, munmap(map, SLOT));
		ASSERT_EQ(0, close(fd));
	}
	if (regions >= 0)
		EXPECT_EQ(regions + 20, debug_count("regions"));
	EXPECT_EQ(0, umount(dir));
	if (regions >= 0)
		EXPECT_EQ(regions, debug_count("regions"));
	rmdir(dir);
}

TEST_HARNESS_MAIN
