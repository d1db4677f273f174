/* SPDX-License-Identifier: MIT */
/*
 * An attached process unshares its descriptor table, its file
 * system attributes, its mounts (and then has no /proc), its root directory. It
 * goes on as before: it follows, changes, and its children take part.
 */
#include "map_util.h"
#include "mount_util.h"
#include "party_util.h"

static const char *name, *root_path;

struct way {
	const char *text;
	int (*go)(void);
	bool privileged;
};

static int unshare_files(void)
{
	return unshare(CLONE_FILES);
}

static int unshare_fs(void)
{
	return unshare(CLONE_FS);
}

static int cover_proc(void)
{
	return unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	       mount("mshare-test", "/proc", "tmpfs", 0, NULL);
}

static int empty_root(void)
{
	return mkdir(root_path, 0755) || chroot(root_path) || chdir("/");
}

static int unshare_many(void)
{
	return unshare(CLONE_FILES | CLONE_FS | CLONE_SYSVSEM | CLONE_NEWIPC | CLONE_NEWNET |
		       CLONE_NEWUTS);
}

static int user_namespace(void)
{
	/* The kernel has that for processes of one thread only; on shm there is the service. */
	if (on_shm())
		return unshare(CLONE_NEWUSER) == -1 && errno == EINVAL ? 0 : -1;
	return unshare(CLONE_NEWUSER);
}

static int attached(void *arg)
{
	const struct way *way = arg;
	size_t P = page();
	int fd = mshare_open(name, O_RDWR, 0);
	char *w = fd < 0 ? MAP_FAILED : mshare_attach(fd, NULL, RW, 0);
	int status;

	must(w != MAP_FAILED);
	probe_prepare();
	if (way->go() != 0)
		return errno == EPERM ? 77 : 1;
	party_report(0);
	check(load(w + 8 * P, NULL) == 0, "%s: a change has arrived", way->text);
	check(mshare_map(fd, 9 * P, P, RW, 0, -1, 0) == 0, "%s: map", way->text);
	check(mshare_protect(fd, 9 * P, P, PROT_READ) == 0, "%s: protect", way->text);
	check(load(w + 9 * P, NULL) == 0 && store(w + 9 * P, 1) == SIGSEGV, "%s: own changes",
	      way->text);
	check(info_of(fd).attachments == 2, "%s: info", way->text);
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		alarm(60);
		check(load(w + 8 * P, NULL) == 0, "%s: the child has the window", way->text);
		check(mshare_map(fd, 10 * P, P, RW, 0, -1, 0) == 0, "%s: and changes", way->text);
		check(mshare_detach(w) == 0, "%s: and detaches", way->text);
		_exit(0);
	}
	must(waitpid(pid, &status, 0) == pid);
	check(exited(status, 0), "%s: the child is well", way->text);
	check(load(w + 10 * P, NULL) == 0, "%s: its change is here", way->text);
	/* Attached anew, under the new circumstances. */
	check(mshare_detach(w) == 0 && mshare_attach(fd, NULL, RW, 0) == w &&
		      load(w + 10 * P, NULL) == 0,
	      "%s: attached anew", way->text);
	party_report(0);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct way ways[] = {
		{"CLONE_FILES", unshare_files, false},
		{"CLONE_FS", unshare_fs, false},
		{"/proc covered in a mount namespace", cover_proc, true},
		{"chroot into an empty directory", empty_root, true},
		{"files, fs, IPC, network and host name", unshare_many, true},
		{"CLONE_NEWUSER, refused to more than one thread", user_namespace, false},
	};

	begin(argc, argv);
	size_t P = page();

	name = unique("region");
	root_path = temp_path("root");
	int fd = region_new(name, GIB);

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		const struct way *way = &ways[i];

		must(mshare_unmap(fd, 0, GIB) == 0);
		struct party p = party_start(attached, (void *)(uintptr_t)way);
		int64_t first = party_await(&p);

		if (first == INT64_MIN) {
			int status = party_end(&p);

			if (exited(status, 77) && way->privileged && !ci())
				skip(way->text, "not permitted here");
			else
				check(false, "%s (status %#x)", way->text, status);
			continue;
		}
		char *w = mshare_attach(fd, NULL, RW, 0);

		must(w != MAP_FAILED && mshare_map(fd, 8 * P, P, RW, 0, -1, 0) == 0);
		bool good = party_next(&p, 0) == 0 && load(w + 9 * P, NULL) == 0 &&
			    store(w + 9 * P, 1) == SIGSEGV && load(w + 10 * P, NULL) == 0;

		party_go(&p, 0);
		good &= exited(party_end(&p), 0);
		check(good, "%s: it follows, changes, forks", way->text);
		must(mshare_detach(w) == 0);
		check(settles(fd, 0, 0), "%s: nobody is left", way->text);
	}
	rmdir(root_path);
	return done();
}
