/* SPDX-License-Identifier: MIT */
/*
 * Rule 10: fork() while another thread's change is under way, made where the
 * region cannot be opened anew (on shm a thread with a descriptor table of its
 * own does it then): the child keeps the program's descriptor, and takes part.
 */
#include "map_util.h"
#include "party_util.h"

#include <pthread.h>

static const char *name;

static void *change(void *arg)
{
	int fd = *(int *)arg;

	/* Done only when the stopped attacher goes on. */
	return (void *)(intptr_t)mshare_map(fd, 8 * page(), page(), RW, 0, -1, 0);
}

static int stranger(void *arg)
{
	int fd = *(int *)arg;
	pthread_t thread;
	void *result;

	mshare_set_timeout(0);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED);
	must(setresuid(STRANGER, STRANGER, STRANGER) == 0);
	must(party_report(0) == 0);
	must(pthread_create(&thread, NULL, change, &fd) == 0);
	/* Until it is published; it then waits for the stopped one. */
	while (load(w + 8 * page(), NULL) != 0)
		usleep(1000);
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		struct mshare_info info;

		alarm(60);
		check(fcntl(fd, F_GETFD) != -1, "the child has the program's descriptor");
		check(mshare_info(fd, &info, sizeof(info)) == 0 && info.window == GIB,
		      "of the same region");
		_exit(0);
	}
	int status;

	must(waitpid(pid, &status, 0) == pid);
	party_report(status);
	must(pthread_join(thread, &result) == 0);
	party_report((intptr_t)result);
	return 0;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	if (geteuid() != 0)
		skip_all("needs root, to become another user");
	name = unique("region");
	int fd = region_new(name, GIB);
	struct peer s = peer_exec();
	struct party p = party_start(stranger, &fd);
	int there = p_open(&s, name, O_RDWR, 0);

	must(p_attach(&s, there, NULL, RW, 0) != MAP_FAILED);
	must(party_await(&p) == 0);
	p_stop(&s);
	/* The child takes M to join, which the change holds: it is given the time limit. */
	party_go(&p, 0);
	usleep(1000);
	struct pollfd pfd = {.fd = p.sock, .events = POLLIN};
	bool waits = poll(&pfd, 1, 500) == 0;

	note("the child %s for the change", waits ? "waits" : "does not wait");
	p_continue(&s);
	check_eq(party_await(&p), 0, "a child forked during a change has all descriptors");
	check_eq(party_next(&p, 0), 0, "and the change comes to its end");
	party_go(&p, 0);
	check(exited(party_end(&p), 0), "the stranger ends");
	check(p_end(&s), "the stopped one ends");
	check(settles(fd, 0, 0), "nobody is left");
	return done();
}
