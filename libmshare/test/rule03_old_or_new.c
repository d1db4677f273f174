/* SPDX-License-Identifier: MIT */
/*
 * Rule 3: while a change is under way an access sees the old or the new state,
 * never a third; when it has returned, the new one only; and what it does not
 * cover is not disturbed at all.
 *
 * Readers hammer three pages while the middle one goes through a cycle of
 * states. The phase is even in a stable state and odd while a change is under
 * way; nothing moves on before every reader has looked in the stable one.
 */
#include "test.h"

#define READERS 2
#define CYCLES 25
#define STATES 6
#define STOP UINT64_MAX

struct board {
	_Atomic uint64_t phase;
	_Atomic uint64_t seen[READERS]; /* the last stable phase each has looked in */
	_Atomic uint64_t looks[READERS];
	_Atomic uint64_t moving[READERS]; /* looks during which a change was under way */
	_Atomic int failed[READERS];
	uint64_t bad[READERS][4];
};

/* What a load of the middle page gives: a value, or FAULT. */
#define FAULT UINT64_MAX
/* After each step: mapped zeroed, stored 17, read-only, none, read-write, unmapped. */
static const uint64_t outcome[STATES] = {0, 17, 17, FAULT, 17, FAULT};

static bool allowed(uint64_t before, uint64_t after, uint64_t got)
{
	/* Old state: before; new: after. If the phase moved further, any between. */
	for (uint64_t ph = before / 2; ph <= (after + 1) / 2; ph++)
		if (got == outcome[ph % STATES])
			return true;
	return false;
}

static int reader(struct board *b, int me, const char *window)
{
	size_t P = page();

	for (;;) {
		uint64_t before = b->phase, v;

		if (before == STOP)
			return 0;
		uint64_t got = load(window + P, &v) ? FAULT : v;
		uint64_t after = b->phase;

		if (after == STOP)
			return 0;
		bool good = allowed(before, after, got);
		/* The neighbours are never disturbed, whatever happens between. */
		uint64_t left = load(window + P - 8, &v) ? FAULT : v;
		uint64_t right = load(window + 2 * P, &v) ? FAULT : v;

		if (!good || left != 1 || right != 3) {
			b->bad[me][0] = before;
			b->bad[me][1] = after;
			b->bad[me][2] = got;
			b->bad[me][3] = left << 32 | (right & 0xffffffff);
			b->failed[me] = 1;
			return 1;
		}
		b->looks[me]++;
		if (before & 1)
			b->moving[me]++;
		if (before == after && !(before & 1))
			b->seen[me] = before;
	}
}

static bool wait_for_readers(struct board *b)
{
	uint64_t until = now_ms() + 30000;

	for (int i = 0; i < READERS; i++)
		while (b->seen[i] != b->phase) {
			if (b->failed[i] || now_ms() > until)
				return false;
			sched_yield();
		}
	return true;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	struct board *b = mmap(NULL, sizeof(*b), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid[READERS];

	must(b != MAP_FAILED);
	must(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0);
	must(mshare_map(fd, 2 * P, P, RW, 0, -1, 0) == 0);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED);
	must(store(w + P - 8, 1) == 0 && store(w + 2 * P, 3) == 0);
	/* The state before the cycle is its last one: unmapped. */
	b->phase = 2 * (STATES - 1);
	for (int i = 0; i < READERS; i++) {
		pid[i] = fork();
		must(pid[i] >= 0);
		if (pid[i] == 0) {
			const char *view = w;

			if (i == READERS - 1) {
				/* One reader has a view of its own, read-only. */
				int ro = mshare_open(name, O_RDONLY, 0);

				must(mshare_detach(w) == 0 && ro >= 0);
				view = mshare_attach(ro, NULL, PROT_READ, 0);
				must(view != MAP_FAILED);
			}
			_exit(reader(b, i, view));
		}
	}
	bool good = wait_for_readers(b);

	for (int cycle = 0; good && cycle < CYCLES; cycle++) {
		for (int s = 0; good && s < STATES; s++) {
			b->phase++;
			switch (s) {
			case 0:
				good = mshare_map(fd, P, P, RW, 0, -1, 0) == 0;
				break;
			case 1:
				good = store(w + P, 17) == 0;
				break;
			case 2:
				good = mshare_protect(fd, P, P, PROT_READ) == 0;
				break;
			case 3:
				good = mshare_protect(fd, P, P, PROT_NONE) == 0;
				break;
			case 4:
				good = mshare_protect(fd, P, P, RW) == 0;
				break;
			case 5:
				good = mshare_unmap(fd, P, P) == 0;
				break;
			}
			b->phase++;
			good = good && wait_for_readers(b);
		}
	}
	check(good, "rule 3: %d cycles of map, store, protect, unmap under %d readers", CYCLES,
	      READERS);
	b->phase = STOP;
	for (int i = 0; i < READERS; i++) {
		int status;

		must(waitpid(pid[i], &status, 0) == pid[i]);
		if (!check(exited(status, 0) && !b->failed[i],
			   "rule 3: reader %d saw the old or the new state, never a third", i))
			note("  phases %" PRIu64 "-%" PRIu64 ": %#" PRIx64 ", neighbours %#" PRIx64,
			     b->bad[i][0], b->bad[i][1], b->bad[i][2], b->bad[i][3]);
		note("reader %d looked %" PRIu64 " times, %" PRIu64 " of them in a change", i,
		     (uint64_t)b->looks[i], (uint64_t)b->moving[i]);
	}
	check(mshare_detach(w) == 0, "detach");
	return done();
}
