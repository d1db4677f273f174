/* SPDX-License-Identifier: MIT */
/*
 * The protocol: what a child of fork() takes over. Addresses of a window that
 * something else took first are not its own; its parent's changes are not its
 * business, whatever becomes of the parent; nor does it wait for one.
 */
#include "party_util.h"

#include <pthread.h>

/* ---- something else in the window's place -------------------------------- */

static char *intrude_at;

/* Registered before the library's handlers, so it runs before them in the child. */
static void intrude(void)
{
	if (intrude_at)
		must(mmap(intrude_at, page(), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
			  -1, 0) == intrude_at);
}

struct windows {
	int taken, free;
	char *w, *v;
};

static int grandchild(void *arg)
{
	struct windows *x = arg;

	must(info_of(x->taken).attachment_errno == EADDRINUSE);
	must(value_at(x->w) == 77);
	must(mshare_detach(x->w) == 0 && value_at(x->w) == 77);
	return 0;
}

static int intruded(void *arg)
{
	struct windows *x = arg;

	alarm(60);
	must(store(x->w, 77) == 0);
	check_eq(info_of(x->taken).attachment_errno, EADDRINUSE, "attachment_errno");
	check_eq(info_of(x->free).attachment_errno, 0, "the other window");
	check(value_at(x->v) == 2, "has its memory");
	check(load(x->w + page(), NULL) == SIGSEGV, "nothing of the region");
	/* What is there is inherited like any memory, and no window there either. */
	intrude_at = NULL;
	check(exited(in_child(grandchild, x), 0), "a child of the child");
	check(mshare_detach(x->w) == 0, "detach");
	check(value_at(x->w) == 77, "that memory is not the library's to unmap");
	check(munmap(x->w, page()) == 0 && mshare_attach(x->taken, NULL, RW, 0) == x->w &&
		      value_at(x->w) == 1,
	      "with the addresses free again, it can attach");
	check(mshare_detach(x->w) == 0 && mshare_detach(x->v) == 0, "detach both");
	return 0;
}

static void taken_by_others(void)
{
	struct windows x = {region_new(NULL, GIB), region_new(NULL, GIB), NULL, NULL};

	must(mshare_map(x.taken, 0, page(), RW, 0, -1, 0) == 0 &&
	     mshare_map(x.free, 0, page(), RW, 0, -1, 0) == 0);
	x.w = mshare_attach(x.taken, NULL, RW, 0);
	x.v = mshare_attach(x.free, NULL, RW, 0);
	must(x.w != MAP_FAILED && x.v != MAP_FAILED);
	must(store(x.w, 1) == 0 && store(x.v, 2) == 0);
	intrude_at = x.w;
	check(exited(in_child(intruded, &x), 0), "a child in which others were faster");
	intrude_at = NULL;
	check(value_at(x.w) == 1 && settles(x.taken, 1, 0) && settles(x.free, 1, 0),
	      "the parent is as before");
	check(mshare_detach(x.w) == 0 && mshare_detach(x.v) == 0, "and detaches");
	close(x.taken);
	close(x.free);
}

/* ---- fork() while a change of the parent's is under way ------------------ */

enum how { LENT, DETACHED, TWICE };

struct forker {
	int fd, ro;
	enum how how;
};

static void *change(void *arg)
{
	/* Never done: an attacher is stopped, and there is no time limit. */
	mshare_map(*(int *)arg, 2 * MIB, MIB, RW, 0, -1, 0);
	return NULL;
}

static bool drains(int fd)
{
	uint64_t end = now_ms() + 20000;

	while (now_ms() < end) {
		struct mshare_info info = info_of(fd);

		if (info.mapped == 2 * MIB && info.stragglers == 1)
			return true;
		usleep(1000);
	}
	return false;
}

static int forker(void *arg)
{
	struct forker *f = arg;
	int flags = f->how == TWICE ? 0 : MSHARE_ATTACH_NOFORK;
	pthread_t thread;

	mshare_set_timeout(0);
	char *w = mshare_attach(f->fd, NULL, RW, flags);

	must(w != MAP_FAILED);
	if (f->how == TWICE)
		must(mshare_attach(f->ro, NULL, PROT_READ, MSHARE_ATTACH_ANYWHERE) != MAP_FAILED);
	must(party_report(0) == 0);
	must(pthread_create(&thread, NULL, change, &f->fd) == 0);
	must(drains(f->fd));
	if (f->how == DETACHED)
		must(mshare_detach(w) == 0);
	pid_t pid = fork();

	must(pid >= 0);
	/* The child says that it is through the handlers, and how; the parent who it is. */
	party_say(party_sock, pid ? (int64_t)pid : -(int64_t)info_of(f->fd).attachment_errno);
	for (;;)
		pause();
}

/* Its next report, if there is one in time. */
static bool hears(struct party *p, int64_t *value)
{
	struct pollfd pfd = {.fd = p->sock, .events = POLLIN};

	if (poll(&pfd, 1, 20000) != 1)
		return false;
	*value = party_hear(p->sock);
	return true;
}

static void parent_dies(enum how how, const char *what)
{
	struct forker f = {.how = how};
	int64_t said[2] = {INT64_MIN, INT64_MIN};
	bool twice = how == TWICE;

	f.fd = region_new(NULL, GIB);
	f.ro = mshare_reopen(f.fd, O_RDONLY);
	must(f.ro >= 0 && mshare_map(f.fd, 0, MIB, RW, 0, -1, 0) == 0);
	struct peer stopped = peer_fork();
	struct party p = party_start(forker, &f);

	must(p_attach(&stopped, f.fd, NULL, RW, 0) != MAP_FAILED);
	must(party_await(&p) == 0);
	p_stop(&stopped);
	party_go(&p, 0);
	bool both = hears(&p, &said[0]) && hears(&p, &said[1]);
	pid_t child = (pid_t)(said[0] > 0 ? said[0] : said[1]);

	check(both, "%s: fork() returns in the child", what);
	check_eq(said[0] > 0 ? said[1] : said[0], 0, "%s: which has what it is to have", what);
	must(child > 0);
	party_kill(&p);
	p_kill(&stopped);
	/* The child lives on, and knows of nothing. */
	check(mshare_map(f.fd, 4 * MIB, MIB, RW, 0, -1, 0) == 0,
	      "%s: the parent is dead, and others' changes go through", what);
	check(info_of(f.fd).mapped == 3 * MIB, "%s: that of the parent, too", what);
	check(settles(f.fd, twice ? 2 : 0, 0), "%s: attached is who should be", what);
	kill(child, SIGKILL);
	must(waitpid(child, NULL, 0) == child); /* ours now: a subreaper's */
	check(settles(f.fd, 0, 0), "%s: nobody is left", what);
	close(f.fd);
	close(f.ro);
}

/* ---- fork() while a change waits for a stopped process ------------------- */

static int modifier(void *arg)
{
	struct forker *f = arg;

	mshare_set_timeout(0);
	party_report(0);
	party_say(party_sock, 1);
	/* `ro` is no descriptor here, but where to map. */
	return mshare_map(f->fd, (size_t)f->ro * MIB, MIB, RW, 0, -1, 0) == 0 ? 0 : 1;
}

static int attached_child(void *arg)
{
	char *w = arg;

	must(value_at(w) == 5);
	return 0;
}

static void fork_beside_changes(void)
{
	int fd = region_new(NULL, GIB);

	must(mshare_map(fd, 0, MIB, RW, 0, -1, 0) == 0);
	struct forker at2 = {.fd = fd, .ro = 2}, at8 = {.fd = fd, .ro = 8};
	struct peer stopped = peer_fork();
	struct party t = party_start(modifier, &at2), m = party_start(modifier, &at8);

	must(p_attach(&stopped, fd, NULL, RW, 0) != MAP_FAILED);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED && store(w, 5) == 0);
	must(party_await(&t) == 0 && party_await(&m) == 0);
	p_stop(&stopped);
	must(party_next(&t, 0) == 1);
	must(drains(fd));
	must(party_next(&m, 0) == 1 && falls_asleep(m.pid));

	for (int round = 0; round < 2; round++) {
		const char *what = round ? "the one who waited has taken the change over"
					 : "one change drains, another modifier waits";
		uint64_t begin = now_ms();

		check(exited(in_child(attached_child, w), 0), "%s: a child of fork() is attached",
		      what);
		note("fork() and the child took %d ms", (int)(now_ms() - begin));
		check(now_ms() - begin < 9000, "%s: long before the time limit", what);
		if (!round)
			party_kill(&t);
	}
	p_continue(&stopped);
	check(exited(party_end(&m), 0), "the stopped one goes on: the change comes to its end");
	check(info_of(fd).mapped == 3 * MIB, "both are there");
	check(p_end(&stopped) && mshare_detach(w) == 0 && settles(fd, 0, 0), "nobody is left");
	close(fd);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	probe_prepare();
	must(pthread_atfork(NULL, NULL, intrude) == 0);
	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	/* Nobody allocates while somebody forks here: the sanitizers can do all of it. */
	taken_by_others();
	parent_dies(LENT, "a change by the attachment's descriptor");
	parent_dies(DETACHED, "that is detached meanwhile");
	parent_dies(TWICE, "a process with two attachments");
	fork_beside_changes();
	return done();
}
