/* SPDX-License-Identifier: MIT */
/*
 * A squatted root: /dev/shm is open to all, so a default root that is not the
 * caller's own, or not closed to others, is refused: EPERM naming the owner; a
 * link is not followed.
 */
#include "mount_util.h"

static char path[64], target[80];
static uid_t uid;

static void refused(struct peer *p, int want, const char *owner, const char *what)
{
	char *addr = (char *)(64 * GIB);

	check_peer_error(p_open(p, "region", O_RDWR | O_CREAT, 0600), want, "create: %s", what);
	if (owner)
		check(strstr(peer_errmsg, owner) && strstr(peer_errmsg, path),
		      "the sentence names directory and owner (%s)", peer_errmsg);
	check_peer_error(p_open(p, "region", O_RDWR, 0), want, "open: %s", what);
	check_peer_error(p_open(p, "region", O_RDONLY, 0), want, "open read-only: %s", what);
	check_peer_error(p_mkdir(p, "dir", 0700), want, "mkdir: %s", what);
	check_peer_error(p_mshare(p, "region", addr, GIB, O_RDWR | O_CREAT, 0600), want,
			 "mshare(): %s", what);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	if (geteuid() != 0)
		skip_all("needs root: it becomes other users");
	struct stat st;
	/* A /dev/shm of one's own: the real one is other people's. */
	own_dev_shm();
	must(unsetenv("MSHARE_ROOT") == 0);
	uid = STRANGER + 1;
	snprintf(path, sizeof(path), "/dev/shm/mshare-%u", uid);
	snprintf(target, sizeof(target), "/dev/shm/mshare-%u-target", uid);
	must(lstat(path, &st) != 0 && errno == ENOENT);
	struct peer p = peer_exec();

	must(p_setenv(&p, "MSHARE_ROOT", NULL) == 0 && p_become(&p, uid, uid) == 0);

	/* Somebody else's, whatever its mode. */
	static const mode_t modes[] = {0700, 0755, 0777, 01777, 0000};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		char what[64];

		must(mkdir(path, 0700) == 0 && chmod(path, modes[i]) == 0);
		snprintf(what, sizeof(what), "root's directory, mode %04o", modes[i]);
		refused(&p, EPERM, "uid 0", what);
		check(rmdir(path) == 0, "nothing was made in it");
	}
	must(mkdir(path, 0700) == 0 && chown(path, STRANGER, STRANGER) == 0 &&
	     chmod(path, 0777) == 0);
	refused(&p, EPERM, "uid 54321", "another user's directory");
	must(rmdir(path) == 0);

	/* One's own, but open to others. */
	static const mode_t open_modes[] = {0777, 0750, 0701, 0710, 0704, 0720, 0702};

	for (size_t i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++) {
		char what[64], owner[32];

		must(mkdir(path, 0700) == 0 && chown(path, uid, uid) == 0 &&
		     chmod(path, open_modes[i]) == 0);
		snprintf(what, sizeof(what), "one's own, mode %04o", open_modes[i]);
		snprintf(owner, sizeof(owner), "uid %u", uid);
		refused(&p, EPERM, owner, what);
		check(rmdir(path) == 0, "nothing was made in it");
	}

	/* A link: to a directory that would do, dangling, looping. */
	must(mkdir(target, 0700) == 0 && chown(target, uid, uid) == 0);
	must(symlink(target, path) == 0);
	refused(&p, ELOOP, NULL, "a link to a directory of one's own");
	check_peer_error(p_unlink(&p, "region"), ELOOP, "unlink: a link");
	check_peer_error(p_rmdir(&p, "dir"), ELOOP, "rmdir: a link");
	check(rmdir(target) == 0, "nothing was made at its end");
	refused(&p, ELOOP, NULL, "a dangling link");
	check(lstat(target, &st) != 0, "nothing was made at its end");
	unlink(path);
	must(symlink(path, path) == 0);
	refused(&p, ELOOP, NULL, "a looping link");
	unlink(path);

	/* No directory at all. */
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	must(fd >= 0);
	close(fd);
	refused(&p, ENOTDIR, NULL, "a file");
	unlink(path);
	must(mkfifo(path, 0666) == 0);
	refused(&p, ENOTDIR, NULL, "a FIFO");
	unlink(path);

	/* A region that was open before the root became somebody's is not lost. */
	must(mkdir(path, 0700) == 0 && chown(path, uid, uid) == 0);
	int there = p_open(&p, "region", O_RDWR | O_CREAT | O_EXCL, 0600);

	check(there >= 0 && p_reserve(&p, there, NULL, GIB) == 0, "a good root");
	must(chown(path, STRANGER, STRANGER) == 0);
	refused(&p, EPERM, "uid 54321", "a root that changed hands");
	check(p_map(&p, there, 0, page(), RW, 0) == 0 &&
		      p_attach(&p, there, NULL, RW, 0) != MAP_FAILED,
	      "what is open goes on");
	must(chown(path, uid, uid) == 0);
	check(p_unlink(&p, "region") == 0 && rmdir(path) == 0, "its own again");
	check(p_end(&p), "the peer ended well");

	/* Who may open anything is deceived no more easily: it is the owner that counts. */
	snprintf(path, sizeof(path), "/dev/shm/mshare-0");
	must(mkdir(path, 0700) == 0 && chown(path, STRANGER, STRANGER) == 0);
	struct peer r = peer_fork();

	refused(&r, EPERM, "uid 54321", "another user's closed directory, for root");
	check_error(mshare_root(), EPERM, "mshare_root() there");
	check(rmdir(path) == 0, "nothing was made in it");
	must(mkdir(path, 0700) == 0);
	fd = mshare_root();
	check(fd >= 0, "root's own is good");
	close(fd);
	check(p_end(&r), "the peer ended well");
	return done();
}
