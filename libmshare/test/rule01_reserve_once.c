/* SPDX-License-Identifier: MIT */
/* Rule 1: of several processes that reserve at the same moment one does it. */
#include "test.h"

#define PEERS 4
#define ROUNDS 10

int main(int argc, char **argv)
{
	begin(argc, argv);
	struct peer p[PEERS];
	size_t unit = mshare_alignment();
	int bad = 0;

	for (int i = 0; i < PEERS; i++)
		p[i] = i % 2 ? peer_exec() : peer_fork();
	for (int round = 0; round < ROUNDS; round++) {
		char label[32];
		int there[PEERS], winners = 0;
		size_t window = 0;

		snprintf(label, sizeof(label), "round%d", round);
		const char *name = unique(label);
		int fd = region_new(name, 0);

		for (int i = 0; i < PEERS; i++) {
			there[i] = p_open(&p[i], name, O_RDWR, 0);
			must(there[i] >= 0);
		}
		for (int i = 0; i < PEERS; i++)
			peer_post(&p[i], PEER_RESERVE, NULL, (uint64_t)there[i], 0,
				  (uint64_t)(i + 1) * unit, 0, 0);
		for (int i = 0; i < PEERS; i++) {
			struct peer_answer an = peer_await(&p[i], NULL);

			if (an.r == 0) {
				winners++;
				window = (size_t)(i + 1) * unit;
			} else if (an.error != EEXIST) {
				note("round %d: peer %d: errno %d (%s)", round, i, an.error,
				     an.errmsg);
				bad++;
			}
		}
		if (winners != 1 || info_of(fd).window != window) {
			note("round %d: %d winners, window %#" PRIx64 ", the winner's %#zx", round,
			     winners, info_of(fd).window, window);
			bad++;
		}
		for (int i = 0; i < PEERS; i++)
			p_close(&p[i], there[i]);
		close(fd);
	}
	check_eq(bad, 0, "rule 1: one of %d reserves wins and the others get EEXIST, %d times",
		 PEERS, ROUNDS);
	for (int i = 0; i < PEERS; i++)
		check(p_end(&p[i]), "peer %d ended well", i);
	return done();
}
