/* SPDX-License-Identifier: MIT */
/*
 * The root on msharefs: /sys/fs/mshare where one is mounted there, for everybody,
 * MSHARE_ROOT before it; one that is closed is an error and no reason to go
 * elsewhere; the name mshare_info; and who may make regions without a name.
 */
#include "mount_util.h"

static struct stat stat_of(int fd)
{
	struct stat st;

	must(fd >= 0 && fstat(fd, &st) == 0);
	close(fd);
	return st;
}

static bool same(struct stat a, struct stat b)
{
	return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static void reserved_name(void)
{
	int root = mshare_root();
	size_t P = page(), count = 0;
	struct mshare_info i;
	char text[32] = "";

	must(root >= 0);
	int fd = openat(root, "mshare_info", O_RDONLY | O_CLOEXEC);

	must(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	check_eq(strtoull(text, NULL, 10), mshare_alignment(), "mshare_info says the alignment");
	check_error(mshare_open("mshare_info", O_RDONLY, 0), EINVAL, "it is no region: open");
	check_error(mshare_open("mshare_info", O_RDWR, 0), EINVAL, "open to write");
	check_error(mshare_unlink("mshare_info"), EINVAL, "unlink");
	/* Whoever opens it otherwise finds out no later. */
	check_error(mshare_attach(fd, NULL, PROT_READ, 0), EINVAL, "attach");
	check_error(mshare_info(fd, &i, sizeof(i)), EINVAL, "info");
	check_error(mshare_mappings(fd, NULL, sizeof(struct mshare_mapping), &count), EINVAL,
		    "mappings");
	check_error(mshare_map(fd, 0, P, RW, 0, -1, 0), EACCES, "map, through O_RDONLY");
	check(unlinkat(root, "mshare_info", 0) == -1 && errno == EPERM, "it cannot be unlinked");
	close(fd);
	close(root);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	if (geteuid() != 0)
		skip_all("needs root: it mounts");
	struct stat st;
	const char *given = temp_path("given");
	struct peer p = peer_exec();

	/* The runner's root may be below what is about to be unmounted. */
	private_mounts();
	must(mkdir(given, 0700) == 0 &&
	     mount(getenv("MSHARE_ROOT"), given, NULL, MS_BIND, NULL) == 0);
	own_dev_shm();
	must(unsetenv("MSHARE_ROOT") == 0);
	st = stat_of(mshare_root());
	check(!strcmp(root_type(), "tmpfs"), "no msharefs is mounted: the default is shm's");
	must(rmdir("/dev/shm/mshare-0") == 0);

	/* Mounted at its place, it is everybody's default. */
	must(mount("mshare-test", "/sys/fs/mshare", "msharefs", 0, NULL) == 0);
	must(stat("/sys/fs/mshare", &st) == 0);
	check(same(stat_of(mshare_root()), st) && !on_shm(), "a msharefs is mounted: that one");
	check((st.st_mode & 07777) == 01777 && st.st_uid == 0, "open to all, as /dev/shm is");
	reserved_name();
	struct peer q = peer_fork();
	const char *name = unique("region");

	must(p_become(&q, STRANGER, STRANGER) == 0);
	int there = p_open(&q, name, O_RDWR | O_CREAT | O_EXCL, 0600),
	    nameless = p_create(&q, 0, 0);

	check(there >= 0 && p_reserve(&q, there, NULL, GIB) == 0 &&
		      p_map(&q, there, 0, page(), RW, 0) == 0 &&
		      p_attach(&q, there, NULL, RW, 0) != MAP_FAILED,
	      "any user makes regions there");
	check(nameless >= 0 && p_reserve(&q, nameless, NULL, GIB) == 0,
	      "and regions without a name");
	int mine = mshare_open(name, O_RDWR, 0);

	must(mine >= 0);
	check(info_of(mine).attachments == 1 && access("/dev/shm/mshare-0", F_OK) != 0,
	      "which all are in one place");

	/* A root of another kind, or another directory, by MSHARE_ROOT. */
	must(mkdir("/dev/shm/given", 0700) == 0 && setenv("MSHARE_ROOT", "/dev/shm/given", 1) == 0);
	check(on_shm(), "MSHARE_ROOT on a tmpfs: shm");
	int on_tmpfs = mshare_create(0, 0600);

	check(on_tmpfs >= 0 && info_of(on_tmpfs).backend == MSHARE_BACKEND_SHM,
	      "regions without a name too");
	check_error(mshare_create(MSHARE_REQUIRE_SHARED_PAGE_TABLES, 0600), EOPNOTSUPP,
		    "who insists is told");
	must(setenv("MSHARE_ROOT", given, 1) == 0);
	check(!on_shm(), "MSHARE_ROOT on another msharefs");
	check(mshare_info(on_tmpfs, &(struct mshare_info){0}, sizeof(struct mshare_info)) == 0 &&
		      info_of(mine).backend == MSHARE_BACKEND_MSHAREFS,
	      "rule 14: each descriptor is on its own, whatever the root is");
	must(unsetenv("MSHARE_ROOT") == 0);
	static const char *const bad[] = {"/nonexistent", "/proc"};

	for (int i = 0; i < 2; i++) {
		must(setenv("MSHARE_ROOT", bad[i], 1) == 0);
		check_error(mshare_create(0, 0600), i ? EOPNOTSUPP : ENOENT,
			    "MSHARE_ROOT=%s: no region without a name either", bad[i]);
	}
	must(unsetenv("MSHARE_ROOT") == 0);

	/* Closed: an error, not another root. */
	must(chmod("/sys/fs/mshare", 0700) == 0);
	check_peer_error(p_open(&q, name, O_RDWR, 0), EACCES, "closed to a user: open");
	check_peer_error(p_create(&q, 0, 0600), EACCES, "and no region without a name");
	check_peer_error(p_mkdir(&q, "dir", 0700), EACCES, "nor a directory");
	check_peer_error(p_unlink(&q, name), EACCES, "nor unlink");
	check(access("/dev/shm/mshare-54321", F_OK) != 0, "nothing was made elsewhere");
	must(chmod("/sys/fs/mshare", 0755) == 0);
	check_peer_error(p_create(&q, 0, 0600), EACCES,
			 "without a name one needs a root that one may write");
	check(p_open(&q, name, O_RDWR, 0) >= 0, "what is there can be opened");
	must(chmod("/sys/fs/mshare", 01777) == 0);

	check(p_unlink(&q, name) == 0 && p_end(&q), "the user ended well");
	close(mine);
	must(umount("/sys/fs/mshare") == 0);
	check(on_shm(), "unmounted: the default is shm's again");
	must(rmdir("/dev/shm/mshare-0") == 0);
	must(setenv("MSHARE_ROOT", given, 1) == 0);
	check(p_end(&p), "the peer ended well");
	return done();
}
