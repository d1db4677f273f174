/* SPDX-License-Identifier: MIT */
/*
 * mshare_set_timeout(): how long a change waits. ETIMEDOUT: it is published and
 * will arrive. EBUSY: an earlier one is still on its way and nothing changed. With
 * shared page tables nobody has to be waited for.
 */
#include "map_util.h"

static void no_waiting(const char *name, int fd, char *w)
{
	size_t P = page();
	struct peer p = peer_exec();
	int there = p_open(&p, name, O_RDWR, 0);

	must(p_attach(&p, there, NULL, RW, 0) == w && p_store(&p, w, 3) == 0);
	p_stop(&p);
	check(mshare_set_timeout(1) == 0 && mshare_protect(fd, 0, P, PROT_READ) == 0 &&
		      mshare_unmap(fd, P, P) == 0 && mshare_map(fd, 8 * P, P, RW, 0, -1, 0) == 0,
	      "changes behind a stopped process, with 1 ms to wait: done");
	check(store(w, 1) == SIGSEGV && load(w + P, NULL) == SIGSEGV && store(w + 8 * P, 1) == 0,
	      "rule 3: in force here");
	check(info_of(fd).stragglers == 0 && info_of(fd).attachments == 2, "nobody is behind");
	p_continue(&p);
	check(p_store(&p, w, 1) == SIGSEGV && p_load(&p, w + P, NULL) == SIGSEGV &&
		      p_store(&p, w + 8 * P, 1) == 0,
	      "rule 3: and in it when it goes on");
	check(p_end(&p), "the peer ended well");
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");

	check_error(mshare_set_timeout(-1), EINVAL, "a negative limit");
	check_error(mshare_set_timeout(INT_MIN), EINVAL, "a very negative one");
	check(mshare_set_timeout(INT_MAX) == 0 && mshare_set_timeout(0) == 0 &&
		      mshare_set_timeout(250) == 0,
	      "limits");
	int fd = region_new(name, GIB);

	must(mshare_map(fd, 0, 4 * P, RW, 0, -1, 0) == 0);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED);
	if (shares_tables()) {
		no_waiting(name, fd, w);
		check(mshare_detach(w) == 0, "detach");
		return done();
	}
	struct peer p = peer_exec(), q = peer_exec();
	int there = p_open(&p, name, O_RDWR, 0), qf = p_open(&q, name, O_RDWR, 0);

	must(p_attach(&p, there, NULL, RW, 0) == w && p_attach(&q, qf, NULL, RW, 0) == w);
	p_stop(&p);
	uint64_t start = now_ms();

	check_error(mshare_protect(fd, 0, P, PROT_READ), ETIMEDOUT,
		    "a change behind a stopped process");
	uint64_t took = now_ms() - start;

	note("%s", mshare_errmsg());
	check(took >= 240 && took < 8000, "after the limit (250 ms: %" PRIu64 ")", took);
	check(strpbrk(mshare_errmsg(), "123456789") != NULL,
	      "the sentence says how many are behind");
	check(store(w, 1) == SIGSEGV && p_store(&q, w, 1) == SIGSEGV,
	      "rule 3: published: in force here and in the other");
	check(MAPPED_IS(fd, {0, P, PROT_READ, 0}, {P, 3 * P, RW, 0}), "and listed");
	check_eq(info_of(fd).stragglers, 1, "one is behind");

	start = now_ms();
	check_error(mshare_unmap(fd, P, P), EBUSY, "the next change");
	took = now_ms() - start;
	check(took >= 240 && took < 8000, "after the limit as well (%" PRIu64 ")", took);
	check(load(w + P, NULL) == 0 && p_load(&q, w + P, NULL) == 0 &&
		      MAPPED_IS(fd, {0, P, PROT_READ, 0}, {P, 3 * P, RW, 0}),
	      "changed nothing");
	must(p_set_timeout(&q, 100) == 0);
	check_peer_error(p_map(&q, qf, 8 * P, P, RW, 0), EBUSY, "nor has another process' change");

	/* It goes on: the change arrives, the next goes through. */
	peer_post(&q, PEER_TIMEOUT, NULL, 0, 0, 0, 0, 0);
	must(peer_await(&q, NULL).r == 0);
	peer_post(&q, PEER_MAP, NULL, (uint64_t)qf, 8 * P, P, RW, 0);
	struct pollfd pfd = {.fd = q.sock, .events = POLLIN};

	check_eq(poll(&pfd, 1, 500), 0, "without a limit it waits");
	p_continue(&p);
	check(peer_await(&q, NULL).r == 0, "until the process goes on");
	check(p_store(&p, w, 1) == SIGSEGV && p_load(&p, w + 8 * P, NULL) == 0,
	      "rule 3: both changes are in force in it");
	check_eq(info_of(fd).stragglers, 0, "nobody is behind");
	mshare_set_timeout(30000);
	check(mshare_unmap(fd, P, P) == 0 && p_load(&p, w + P, NULL) == SIGSEGV,
	      "and changes go on");

	/* Attach does not wait for stragglers of a change that is complete. */
	p_stop(&p);
	char *again = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE);

	check(again != MAP_FAILED && mshare_detach(again) == 0,
	      "attach and detach beside a stopped process");
	check_eq(info_of(fd).attachments, 3, "which counts");
	p_continue(&p);
	check(p_end(&p) && p_end(&q), "the peers ended well");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
