/* SPDX-License-Identifier: MIT */
/*
 * The root: MSHARE_ROOT, or where no msharefs is mounted /dev/shm/mshare-<uid>,
 * made 0700 when it is needed; MSHARE_ROOT by secure_getenv. (Rule 7.)
 */
#include "mount_util.h"

static char path[64];
static uid_t uid;

/* "DEV:INO" of the root, for who started us. */
static int print_root(void)
{
	struct stat st;
	int fd = mshare_root();

	if (fd < 0 || fstat(fd, &st))
		return 1;
	printf("%ju:%ju\n", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	fflush(stdout);
	/* Leak checks and coverage at exit are not for a setuid program. */
	_exit(0);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--print-root"))
		return print_root();
	begin(argc, argv);
	if (geteuid() != 0)
		skip_all("needs root: it becomes another user");
	struct stat st, again;
	char file[128];

	/* A /dev/shm of one's own, and a root to be named in it. */
	own_dev_shm();
	must(mkdir("/dev/shm/given", 0755) == 0 && setenv("MSHARE_ROOT", "/dev/shm/given", 1) == 0);
	uid = STRANGER + 1;
	snprintf(path, sizeof(path), "/dev/shm/mshare-%u", uid);
	must(lstat(path, &st) != 0 && errno == ENOENT);

	struct peer p = peer_exec();

	must(p_setenv(&p, "MSHARE_ROOT", NULL) == 0 && p_become(&p, uid, uid) == 0);
	check_peer_error(p_open(&p, "region", O_RDWR, 0), ENOENT,
			 "nothing there: open without O_CREAT");
	check_peer_error(p_unlink(&p, "region"), ENOENT, "nor unlink");
	check_peer_error(p_rmdir(&p, "dir"), ENOENT, "nor rmdir");
	check(lstat(path, &st) != 0 && errno == ENOENT, "neither makes the root");
	check(p_create(&p, 0, 0600) >= 0 && lstat(path, &st) != 0,
	      "a region without a name needs none");
	must(p_umask(&p, 0) >= 0);
	int fd = p_open(&p, "region", O_RDWR | O_CREAT | O_EXCL, 0600);

	check(fd >= 0, "O_CREAT makes the root");
	check(lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 07777) == 0700 &&
		      st.st_uid == uid,
	      "a directory of mode 0700 that is its own");
	check(p_reserve(&p, fd, NULL, GIB) == 0 && p_map(&p, fd, 0, page(), RW, 0) == 0 &&
		      p_attach(&p, fd, NULL, RW, 0) != MAP_FAILED,
	      "and regions in it work");
	snprintf(file, sizeof(file), "%s/region", path);
	check(lstat(file, &again) == 0 && S_ISREG(again.st_mode), "the name is there");
	check(p_mkdir(&p, "dir", 0700) == 0 && p_rmdir(&p, "dir") == 0, "mkdir and rmdir");

	/* Empty is as good as not set. */
	must(p_setenv(&p, "MSHARE_ROOT", "") == 0);
	check(p_open(&p, "region", O_RDWR, 0) >= 0, "MSHARE_ROOT empty: the default");

	/* What MSHARE_ROOT may not be. */
	static const struct {
		const char *value;
		int error;
	} bad[] = {
		{"relative/path", EINVAL}, {".", EINVAL},         {"/nonexistent/root", ENOENT},
		{"/dev/null", ENOTDIR},    {"/proc", EOPNOTSUPP},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		must(p_setenv(&p, "MSHARE_ROOT", bad[i].value) == 0);
		check_peer_error(p_open(&p, "region", O_RDWR | O_CREAT, 0600), bad[i].error,
				 "MSHARE_ROOT=%s", bad[i].value);
		check(strstr(peer_errmsg, bad[i].value) || bad[i].error == EOPNOTSUPP,
		      "the sentence names it (%s)", peer_errmsg);
		check_peer_error(p_mkdir(&p, "dir", 0700), bad[i].error, "mkdir there");
	}

	/* A root that others share is opt-in: whoever's it is. */
	must(p_setenv(&p, "MSHARE_ROOT", getenv("MSHARE_ROOT")) == 0);
	const char *name = unique("shared");

	close(region_new(name, GIB));
	check_peer_error(p_open(&p, name, O_RDWR, 0), EACCES,
			 "a region of another user's root: its mode");
	int root = mshare_root();

	must(root >= 0 && fchmodat(root, name, 0666, 0) == 0);
	check(p_open(&p, name, O_RDWR, 0) >= 0, "and its mode alone");

	/* The root goes when it is empty, and is made again. */
	must(p_setenv(&p, "MSHARE_ROOT", NULL) == 0);
	check(p_unlink(&p, "region") == 0 && rmdir(path) == 0, "removed");
	check(p_mkdir(&p, "dir", 0700) == 0 && lstat(path, &st) == 0 && st.st_uid == uid,
	      "mkdir makes the root too");
	check(p_rmdir(&p, "dir") == 0, "rmdir");
	check(p_end(&p), "the peer ended well");
	rmdir(path);

	/* With privileges that the caller does not have, MSHARE_ROOT is not looked at. */
	char program[PATH_MAX], command[PATH_MAX * 2], line[128] = "";
	struct statfs sf;

	snprintf(program, sizeof(program), "%s", temp_path("setuid"));
	snprintf(command, sizeof(command), "cp '%.2000s' '%.2000s'", tap.self, program);
	must(system(command) == 0 && chown(program, uid, uid) == 0 && chmod(program, 04755) == 0);
	must(statfs(program, &sf) == 0);
	if (sf.f_flags & 2 /* ST_NOSUID */) {
		skip("MSHARE_ROOT is ignored in a setuid program", "TMPDIR is mounted nosuid");
	} else {
		int out[2], status;

		must(pipe2(out, O_CLOEXEC) == 0 && fstat(root, &st) == 0);
		pid_t pid = fork();

		must(pid >= 0);
		if (pid == 0) {
			if (dup2(out[1], 1) < 0 || setresgid(STRANGER, STRANGER, STRANGER) ||
			    setresuid(STRANGER, STRANGER, STRANGER))
				_exit(3);
			execl(program, program, "--print-root", (char *)NULL);
			_exit(4);
		}
		close(out[1]);
		must(waitpid(pid, &status, 0) == pid);
		ssize_t n = read(out[0], line, sizeof(line) - 1);

		line[n > 0 ? n : 0] = 0;
		must(lstat(path, &again) == 0);
		char want[128];

		snprintf(want, sizeof(want), "%ju:%ju\n", (uintmax_t)again.st_dev,
			 (uintmax_t)again.st_ino);
		check(exited(status, 0) && !strcmp(line, want),
		      "MSHARE_ROOT is ignored in a setuid program: the default root of its user");
	}
	unlink(program);
	rmdir(path);
	return done();
}
