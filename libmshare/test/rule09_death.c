/* SPDX-License-Identifier: MIT */
/*
 * Rule 9: SIGKILL of any process leaves the others running, the region
 * consistent and no lock held. (At every instruction: protocol_*.c.)
 */
#include "map_util.h"

/*
 * An attacher that has stopped, with page tables of its own: a change waits for
 * it. It is killed, and so is one who waits.
 */
static void stopped_holds_up(const char *name, int fd, char *w)
{
	size_t P = page();
	int there;

	/* An attacher that has stopped, and a change that waits for it. */
	struct peer q = peer_exec(), m = peer_exec();

	there = p_open(&q, name, O_RDWR, 0);
	must(p_attach(&q, there, NULL, RW, 0) == w);
	int mf = p_open(&m, name, O_RDWR, 0);

	must(p_set_timeout(&m, 0) == 0);
	p_stop(&q);
	peer_post(&m, PEER_MAP, NULL, (uint64_t)mf, 8 * P, P, RW, 0);
	struct pollfd pfd = {.fd = m.sock, .events = POLLIN};

	check_eq(poll(&pfd, 1, 300), 0, "rule 9: a change waits for an attacher that has stopped");
	check(kill(q.pid, SIGKILL) == 0, "rule 9: which is killed");
	struct peer_answer an = peer_await(&m, NULL);

	check(an.r == 0, "rule 9: then the change is done");
	check(load(w + 8 * P, NULL) == 0, "rule 9: and is in force");
	must(waitpid(q.pid, NULL, 0) == q.pid);
	close(q.sock);

	/* A modifier killed while it waits: who is next drains and goes on. */
	struct peer r = peer_exec();

	there = p_open(&r, name, O_RDWR, 0);
	must(p_attach(&r, there, NULL, RW, 0) == w);
	p_stop(&r);
	peer_post(&m, PEER_UNMAP, NULL, (uint64_t)mf, 8 * P, P, 0, 0);
	check_eq(poll(&pfd, 1, 300), 0, "rule 9: a modifier that waits");
	p_kill(&m);
	mshare_set_timeout(200);
	check_error(
		mshare_map(fd, 12 * P, P, RW, 0, -1, 0), EBUSY,
		"rule 9: killed; its change is still on its way, and nothing more is published");
	check(load(w + 12 * P, NULL) == SIGSEGV, "rule 9: nothing has changed here");
	p_continue(&r);
	mshare_set_timeout(30000);
	check(mshare_map(fd, 12 * P, P, RW, 0, -1, 0) == 0,
	      "rule 9: the next one goes on from there");
	struct mshare_info i = info_of(fd);

	check(i.stragglers == 0 && i.attachments == 2, "rule 9: nobody is behind");
	/* Published before its modifier died, so it has arrived. */
	check(load(w + 8 * P, NULL) == SIGSEGV && p_load(&r, w + 8 * P, NULL) == SIGSEGV,
	      "rule 9: the dead one's change is in force everywhere");
	check(MAPPED_IS(fd, {0, 4 * P, RW, 0}, {12 * P, P, RW, 0}), "rule 9: the list is whole");
	check(p_load(&r, w + 12 * P, NULL) == 0 && p_store(&r, w, 2) == 0 && value_at(w) == 2,
	      "rule 9: and all that live share it");
	check(p_end(&r), "the peer ended well");
}

/* With shared ones nothing waits, whatever the attacher does, and whoever dies. */
static void stopped_holds_up_nobody(const char *name, int fd, char *w)
{
	size_t P = page();
	struct peer q = peer_exec();
	int there = p_open(&q, name, O_RDWR, 0);

	must(p_attach(&q, there, NULL, RW, 0) == w && p_load(&q, w, NULL) == 0);
	p_stop(&q);
	mshare_set_timeout(1);
	check(mshare_map(fd, 8 * P, 4 * P, RW, 0, -1, 0) == 0 && store(w + 8 * P, 5) == 0 &&
		      mshare_unmap(fd, 9 * P, P) == 0,
	      "rule 9: changes do not wait for an attacher that has stopped");
	p_continue(&q);
	check(p_load(&q, w + 8 * P, NULL) == 0 && p_load(&q, w + 9 * P, NULL) == SIGSEGV,
	      "rule 9: and are in force in it when it goes on");
	p_stop(&q);
	p_kill(&q);
	check(info_of(fd).attachments == 1 && mshare_unmap(fd, 8 * P, 4 * P) == 0,
	      "rule 9: killed while it is stopped");
	must(mshare_map(fd, 12 * P, P, RW, 0, -1, 0) == 0 && store(w, 2) == 0);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED && mshare_map(fd, 0, 4 * P, RW, 0, -1, 0) == 0);
	must(store(w, 1) == 0);

	/* An attacher, at rest. */
	struct peer p = peer_unrelated();
	int there = p_open(&p, name, O_RDWR, 0);

	must(p_attach(&p, there, NULL, RW, 0) == w);
	check_eq(info_of(fd).attachments, 2, "rule 9: two are attached");
	p_kill(&p);
	check_eq(info_of(fd).attachments, 1, "rule 9: killed, its attachment is gone");
	check(mshare_protect(fd, 0, P, PROT_READ) == 0 && mshare_protect(fd, 0, P, RW) == 0,
	      "rule 9: changes go on");

	if (shares_tables())
		stopped_holds_up_nobody(name, fd, w);
	else
		stopped_holds_up(name, fd, w);

	/* Many come and are killed at once. */
	for (int round = 0; round < 5; round++) {
		struct peer k[4];

		for (int j = 0; j < 4; j++) {
			k[j] = peer_fork();
			if (j % 2)
				peer_post(&k[j], PEER_MAP, NULL, (uint64_t)fd, (size_t)(32 + j) * P,
					  P, RW, 0);
		}
		for (int j = 0; j < 4; j++)
			p_kill(&k[j]);
		must(mshare_unmap(fd, 32 * P, 8 * P) == 0);
	}
	check(info_of(fd).attachments == 1, "rule 9: of 20 children that were killed none is left");
	check(MAPPED_IS(fd, {0, 4 * P, RW, 0}, {12 * P, P, RW, 0}), "rule 9: the region is whole");
	check(value_at(w) == 2 && store(w, 3) == 0, "rule 9: and its contents");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
