/* SPDX-License-Identifier: MIT */
/*
 * The protocol: an attacher that gdb has attached to stands still and holds up
 * changes (ETIMEDOUT, then EBUSY); when gdb lets go, they arrive.
 */
#include "map_util.h"
#include "party_util.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	if (system("command -v gdb >/dev/null") != 0)
		skip_all("gdb is not installed");
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	struct peer p = peer_exec();
	int there = p_open(&p, name, O_RDWR, 0);
	char *w = p_attach(&p, there, NULL, RW, 0), text[PATH_MAX + 64];
	const char *stands = temp_path("stands"), *on = temp_path("on");

	must(w != MAP_FAILED && mshare_map(fd, 0, P, RW, 0, -1, 0) == 0);
	must(mkfifo(stands, 0600) == 0 && mkfifo(on, 0600) == 0);
	/* Not to wait for a gdb that never comes by. */
	int stands_fd = open(stands, O_RDWR | O_CLOEXEC), on_fd = open(on, O_RDWR | O_CLOEXEC);

	must(stands_fd >= 0 && on_fd >= 0);
	pid_t gdb = fork();

	must(gdb >= 0);
	if (gdb == 0) {
		char pid[16];
		int null = open("/dev/null", O_RDWR);

		snprintf(text, sizeof(text), "shell echo > %s; read x < %s", stands, on);
		snprintf(pid, sizeof(pid), "%d", (int)p.pid);
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		unsetenv("DEBUGINFOD_URLS");
		execlp("gdb", "gdb", "-batch", "-nx", "-ex", "set auto-solib-add off", "-p", pid,
		       "-ex", text, (char *)NULL);
		_exit(127);
	}
	struct pollfd pfd = {.fd = stands_fd, .events = POLLIN};

	if (poll(&pfd, 1, 120000) != 1) {
		kill(gdb, SIGKILL);
		must(!"gdb attaches");
	}
	mshare_set_timeout(200);
	check_error(mshare_map(fd, 8 * P, P, RW, 0, -1, 0), ETIMEDOUT, "a change");
	check(errmsg_has_number(p.pid), "names the process: \"%s\"", mshare_errmsg());
	check_error(mshare_map(fd, 9 * P, P, RW, 0, -1, 0), EBUSY, "a second");
	must(write(on_fd, "\n", 1) == 1);
	int status;

	must(waitpid(gdb, &status, 0) == gdb);
	check(exited(status, 0), "gdb lets go");
	mshare_set_timeout(30000);
	check(mshare_map(fd, 9 * P, P, RW, 0, -1, 0) == 0, "changes go on");
	check(p_load(&p, w + 8 * P, NULL) == 0 && p_load(&p, w + 9 * P, NULL) == 0,
	      "and have arrived");
	check(p_end(&p), "the process ends well");
	unlink(stands);
	unlink(on);
	return done();
}
