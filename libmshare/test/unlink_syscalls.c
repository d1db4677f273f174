/* SPDX-License-Identifier: MIT */
/*
 * Rule 7: mshare_unlink("name") is open the root, unlinkat, close, and nothing
 * else; with directories in the name the parent is opened first. Seen by strace.
 */
#include "mount_util.h"

#define MAX 64

struct call {
	char text[512];
};

/* What `self --unlink NAME` does between two marks, as strace writes it. */
static int traced(const char *name, const char *root, const char *user, struct call *calls)
{
	char path[PATH_MAX], line[1024];
	int n = 0, status;
	bool inside = false;

	snprintf(path, sizeof(path), "%s", temp_path("strace"));
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		if (root)
			setenv("MSHARE_ROOT", root, 1);
		else
			unsetenv("MSHARE_ROOT");
		/* ptrace and LeakSanitizer's own do not go together. */
		setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
		execlp("strace", "strace", "-f", "-o", path, "-e", "signal=none", tap.self,
		       "--unlink", name, user, (char *)NULL);
		_exit(127);
	}
	must(waitpid(pid, &status, 0) == pid);
	if (!exited(status, 0)) {
		note("strace: wait status %#x", status);
		return -1;
	}
	FILE *f = fopen(path, "re");

	must(f);
	while (fgets(line, sizeof(line), f)) {
		char *call = line + strspn(line, "0123456789 ");

		line[strcspn(line, "\n")] = 0;
		if (strstr(call, "mshare-test-mark")) {
			inside = !inside;
			continue;
		}
		if (inside && n < MAX) {
			note("%s", call);
			snprintf(calls[n++].text, sizeof(calls[0].text), "%s", call);
		}
	}
	fclose(f);
	unlink(path);
	return n;
}

static bool starts(const struct call *c, const char *with)
{
	return !strncmp(c->text, with, strlen(with));
}

static bool has(const struct call *c, const char *part)
{
	return strstr(c->text, part) != NULL;
}

/* The helper: a mark, the call, a mark. */
static int helper(const char *name, const char *user)
{
	if (*user) {
		uid_t uid = (uid_t)atoi(user);

		if (setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
			return 3;
	}
	int r;

	/* The first allocation of a process has system calls of its own. */
	void *volatile warm = malloc(4096);

	free(warm);
	access("mshare-test-mark", F_OK);
	r = mshare_unlink(name);
	access("mshare-test-mark", F_OK);
	return r == 0 ? 0 : 2;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "--unlink"))
		return helper(argv[2], argv[3]);
	begin(argc, argv);
	if (TEST_TSAN)
		skip_all("ThreadSanitizer makes system calls of its own");
	struct call c[MAX];
	const char *root = getenv("MSHARE_ROOT");
	char quoted[PATH_MAX];

	if (system("strace -V >/dev/null 2>&1") != 0) {
		if (ci()) {
			check(false, "strace is there: it is needed when CI is set");
			return done();
		}
		skip_all("strace is not installed");
	}
	must(root);

	close(region_new(unique("plain"), GIB));
	int n = traced(tap.names[0], root, "", c);

	check_eq(n, 3, "rule 7: unlink of a plain name is three system calls");
	snprintf(quoted, sizeof(quoted), "\"%s\"", root);
	check(n == 3 && starts(&c[0], "openat(AT_FDCWD, ") && has(&c[0], quoted) &&
		      has(&c[0], "O_DIRECTORY"),
	      "rule 7: the first opens the root");
	snprintf(quoted, sizeof(quoted), ", \"%s\", 0)", tap.names[0]);
	check(n == 3 && starts(&c[1], "unlinkat(") && has(&c[1], quoted) && has(&c[1], " = 0"),
	      "rule 7: the second is unlinkat(rootfd, name, 0)");
	check(n == 3 && starts(&c[2], "close(") && has(&c[2], " = 0"),
	      "rule 7: the third closes it");
	int opened = n == 3 ? atoi(strrchr(c[0].text, '=') + 1) : -1;
	char expect[32];

	snprintf(expect, sizeof(expect), "unlinkat(%d,", opened);
	check(n == 3 && starts(&c[1], expect), "rule 7: on the descriptor that was opened");
	snprintf(expect, sizeof(expect), "close(%d)", opened);
	check(n == 3 && starts(&c[2], expect), "rule 7: and that is what is closed");
	check_error(mshare_open(tap.names[0], O_RDWR, 0), ENOENT, "rule 7: the name is gone");

	/* In a directory: its parent is opened beneath the root, no link followed. */
	const char *dir = unique("dir");
	char name[256];

	must(mshare_mkdir(dir, 0700) == 0);
	snprintf(name, sizeof(name), "%s/region", dir);
	close(region_new(name, GIB));
	n = traced(name, root, "", c);
	int unlinks = 0, openat2s = 0, others = 0;

	for (int i = 0; i < n; i++) {
		if (starts(&c[i], "unlinkat("))
			unlinks += has(&c[i], "\"region\", 0)") && has(&c[i], " = 0");
		else if (starts(&c[i], "openat2("))
			openat2s += has(&c[i], "RESOLVE_BENEATH") &&
				    has(&c[i], "RESOLVE_NO_SYMLINKS") &&
				    has(&c[i], "RESOLVE_NO_MAGICLINKS");
		else if (!starts(&c[i], "openat(") && !starts(&c[i], "close("))
			others++;
	}
	check(unlinks == 1 && openat2s == 1 && others == 0,
	      "rule 7: with a directory in the name: the parent by openat2, beneath, no links; "
	      "then "
	      "unlinkat");
	check_error(mshare_open(name, O_RDWR, 0), ENOENT, "rule 7: that name is gone");

	must(mshare_rmdir(dir) == 0);

	/* The default root, in a /dev/shm of one's own. */
	if (on_shm()) {
		own_dev_shm();

		char path[64], user[16];
		uid_t uid = STRANGER;

		snprintf(path, sizeof(path), "/dev/shm/mshare-%u", uid);
		snprintf(user, sizeof(user), "%u", uid);
		must(mkdir(path, 0700) == 0 && chown(path, uid, uid) == 0);
		char file[128];

		snprintf(file, sizeof(file), "%s/plain", path);
		int fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

		must(fd >= 0);
		close(fd);
		n = traced("plain", NULL, user, c);
		note("default root: %d system calls", n);
		int allowed = 0;

		unlinks = 0;
		for (int i = 0; i < n; i++) {
			allowed += starts(&c[i], "openat(") || starts(&c[i], "unlinkat(") ||
				   starts(&c[i], "close(") || starts(&c[i], "geteuid(") ||
				   starts(&c[i], "fstatfs(");
			unlinks += starts(&c[i], "unlinkat(");
		}
		check(n > 0 && unlinks == 1 && allowed == n && starts(&c[0], "openat(") &&
			      has(&c[0], "\"/sys/fs/mshare\""),
		      "rule 7: in the default root: the same, and the question whether a msharefs "
		      "is mounted");
		check(access(file, F_OK) == -1 && errno == ENOENT, "rule 7: gone");
	} else {
		/* The root of the mount, whichever directory of it the runner has given us. */
		must(unsetenv("MSHARE_ROOT") == 0);
		close(region_new(unique("default"), GIB));
		n = traced(tap.names[tap.named - 1], NULL, "", c);
		check(n == 4 && starts(&c[0], "openat(") && has(&c[0], "\"/sys/fs/mshare\"") &&
			      starts(&c[1], "fstatfs(") && starts(&c[2], "unlinkat(") &&
			      has(&c[2], " = 0") && starts(&c[3], "close("),
		      "rule 7: in the default root: the same, and the question whether it is a "
		      "msharefs");
		check_error(mshare_open(tap.names[tap.named - 1], O_RDWR, 0), ENOENT,
			    "rule 7: gone");
		must(setenv("MSHARE_ROOT", root, 1) == 0);
	}
	return done();
}
