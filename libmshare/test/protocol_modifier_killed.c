/* SPDX-License-Identifier: MIT */
/*
 * The protocol: SIGKILL of a modifier that others wait for. The next in line has
 * the lock at once, finishes the dead one's change, and makes its own.
 */
#include "map_util.h"
#include "party_util.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	struct peer s = peer_exec(), m[4];
	int there = p_open(&s, name, O_RDWR, 0), mfd[4];
	char *w = p_attach(&s, there, NULL, RW, 0);

	must(w != MAP_FAILED && mshare_map(fd, 0, 4 * P, RW, 0, -1, 0) == 0);
	for (int i = 0; i < 4; i++) {
		m[i] = peer_exec();
		mfd[i] = p_open(&m[i], name, O_RDWR, 0);
		must(p_set_timeout(&m[i], 0) == 0);
		/* Half of them are attached themselves. */
		if (i % 2)
			must(p_attach(&m[i], mfd[i], NULL, RW, 0) == w);
	}
	p_stop(&s);
	/* The first publishes an unmap and waits for the stopped one. */
	uint64_t generation = info_of(fd).generation;

	peer_post(&m[0], PEER_UNMAP, NULL, (uint64_t)mfd[0], 0, P, 0, 0);
	while (info_of(fd).generation == generation)
		usleep(1000);
	for (int i = 1; i < 4; i++)
		peer_post(&m[i], PEER_MAP, NULL, (uint64_t)mfd[i], (size_t)(8 * i) * P, P, RW, 0);
	struct pollfd pfd = {.fd = m[1].sock, .events = POLLIN};

	check_eq(poll(&pfd, 1, 200), 0, "three wait behind one that waits");
	/* It and one of those who wait. */
	p_kill(&m[0]);
	p_kill(&m[3]);
	pfd.fd = m[1].sock;
	check_eq(poll(&pfd, 1, 200), 0, "the first is killed: the others wait on");
	check_eq(info_of(fd).generation, generation + 1, "and publish nothing");
	p_continue(&s);
	struct peer_answer one = peer_await(&m[1], NULL), two = peer_await(&m[2], NULL);

	check(one.r == 0 && two.r == 0, "the stopped one goes on: their changes are done");
	check(MAPPED_IS(fd, {P, 3 * P, RW, 0}, {8 * P, P, RW, 0}, {16 * P, P, RW, 0}),
	      "the dead one's is, and of who was killed waiting nothing");
	check(p_load(&s, w, NULL) == SIGSEGV && p_load(&s, w + 8 * P, NULL) == 0 &&
		      p_load(&s, w + 16 * P, NULL) == 0 && p_load(&s, w + 24 * P, NULL) == SIGSEGV,
	      "in force");
	struct mshare_info info = info_of(fd);

	check_eq(info.resident, info.mapped, "the memory is what is mapped");
	check(info.attachments == 2 && info.stragglers == 0, "no lock is left");
	mshare_set_timeout(1000);
	check(mshare_map(fd, 24 * P, P, RW, 0, -1, 0) == 0, "the next change is at once");
	check(p_end(&m[1]) && p_end(&m[2]) && p_end(&s), "they end well");
	check(settles(fd, 0, 0), "nobody is left");
	return done();
}
