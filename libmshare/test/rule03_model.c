/* SPDX-License-Identifier: MIT */
/*
 * Rules 2 and 3 against a model: random changes by random processes; after each,
 * the answer, the list of mappings and what loads and stores do in every process
 * must be what a plain table of pages says. MSHARE_TEST_SEED repeats a run.
 */
#include "test.h"

#define PAGES 48
#define PEERS 4
#define STEPS 250

static int prot_of[PAGES]; /* -1: a hole */
static uint32_t flags_of[PAGES];
static uint64_t value_of[PAGES];
static uint64_t state;

static unsigned int dice(unsigned int n)
{
	/* xorshift64: the same everywhere. */
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned int)((state >> 24) % n);
}

static bool mappings_match(int fd)
{
	struct mshare_mapping got[PAGES];
	size_t count = PAGES, n = 0;

	if (mshare_mappings(fd, got, sizeof(got[0]), &count) != 0)
		return false;
	for (size_t i = 0; i < PAGES;) {
		size_t j = i + 1;

		if (prot_of[i] < 0) {
			i++;
			continue;
		}
		while (j < PAGES && prot_of[j] == prot_of[i] && flags_of[j] == flags_of[i])
			j++;
		if (n >= count || got[n].offset != i * page() ||
		    got[n].length != (j - i) * page() || got[n].prot != (uint32_t)prot_of[i] ||
		    got[n].flags != flags_of[i])
			return false;
		n++;
		i = j;
	}
	return n == count;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	const char *seed = getenv("MSHARE_TEST_SEED");
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB), there[PEERS];
	struct peer p[PEERS];
	char *w[PEERS];
	int bad = 0, answers[4] = {0, 0, 0, 0};
	static const int prots[] = {PROT_NONE, PROT_READ, RW, RW};

	state = seed ? strtoull(seed, NULL, 0) : 0x6d73686172652031;
	note("MSHARE_TEST_SEED=%#" PRIx64, state);
	must(state != 0);
	for (int i = 0; i < PAGES; i++)
		prot_of[i] = -1;
	for (int i = 0; i < PEERS; i++) {
		p[i] = i == 0 ? peer_fork() : i == 1 ? peer_exec() : peer_unrelated();
		there[i] = p_open(&p[i], name, O_RDWR, 0);
		/* The last one only reads. */
		w[i] = p_attach(&p[i], there[i], NULL, i == PEERS - 1 ? PROT_READ : RW, 0);
		must(w[i] != MAP_FAILED);
	}
	for (int step = 0; step < STEPS && !bad; step++) {
		size_t first = dice(PAGES), n = 1 + dice(PAGES - (unsigned int)first);
		int who = (int)dice(PEERS + 1), what = (int)dice(3), prot = prots[dice(4)];
		int flags = dice(4) ? 0 : MSHARE_MAP_NORESERVE;

		if (n > 12)
			n = 1 + n % 12;
		size_t off = first * P, len = n * P;
		bool any = false, all = true;
		int want = 0, r, e;

		for (size_t i = first; i < first + n; i++) {
			any = any || prot_of[i] >= 0;
			all = all && prot_of[i] >= 0;
		}
		if (what == 0) {
			want = any ? EEXIST : 0;
			r = who < PEERS ? p_map(&p[who], there[who], off, len, prot, flags)
					: mshare_map(fd, off, len, prot, flags, -1, 0);
		} else if (what == 1) {
			r = who < PEERS ? p_unmap(&p[who], there[who], off, len)
					: mshare_unmap(fd, off, len);
		} else {
			want = all ? 0 : ENOMEM;
			r = who < PEERS ? p_protect(&p[who], there[who], off, len, prot)
					: mshare_protect(fd, off, len, prot);
		}
		e = r == 0 ? 0 : errno;
		answers[e == 0 ? what : 3]++;
		if (e != want) {
			note("step %d: %d of %zu+%zu by %d: errno %d, wanted %d", step, what, first,
			     n, who, e, want);
			bad++;
		}
		for (size_t i = first; !want && i < first + n; i++) {
			if (what == 0) {
				flags_of[i] = (uint32_t)flags;
				value_of[i] = 0;
			}
			prot_of[i] = what == 1 ? -1 : prot;
		}
		if (!mappings_match(fd)) {
			note("step %d: the list of mappings is wrong", step);
			bad++;
		}
		/* Look at the edges of the change, and somewhere else. */
		size_t look[4] = {first, first + n - 1, first + n, dice(PAGES)};

		for (int k = 0; k < 4; k++) {
			size_t i = look[k] % PAGES;
			int writer = (int)dice(PEERS);
			int sig = p_store(&p[writer], w[writer] + i * P, (uint64_t)step + 1);
			int could = prot_of[i] == RW && writer != PEERS - 1;

			if (sig != (could ? 0 : SIGSEGV)) {
				note("step %d: store at page %zu by %d: signal %d", step, i, writer,
				     sig);
				bad++;
			}
			if (could)
				value_of[i] = (uint64_t)step + 1;
			for (int j = 0; j < PEERS; j++) {
				uint64_t v = 0;

				sig = p_load(&p[j], w[j] + i * P, &v);
				if (sig != (prot_of[i] > 0 ? 0 : SIGSEGV) ||
				    (sig == 0 && v != value_of[i])) {
					note("step %d: load at page %zu by %d: signal %d, value "
					     "%" PRIu64 ", wanted prot %d value %" PRIu64,
					     step, i, j, sig, v, prot_of[i], value_of[i]);
					bad++;
				}
			}
		}
	}
	check_eq(bad, 0, "rules 2 and 3: %d random changes by %d processes are as the model says",
		 STEPS, PEERS + 1);
	check(answers[0] > 10 && answers[1] > 10 && answers[2] > 5 && answers[3] > 10,
	      "rules 2 and 3: of all kinds (%d map, %d unmap, %d protect, %d refused)", answers[0],
	      answers[1], answers[2], answers[3]);
	for (int i = 0; i < PEERS; i++)
		check(p_end(&p[i]), "peer %d ended well", i);
	return done();
}
