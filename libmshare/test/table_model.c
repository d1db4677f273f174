/* SPDX-License-Identifier: MIT */
/*
 * src/table.c against a naive model: an array of pages. Random edits agree, a
 * diff leads from any table to any other, and nothing malformed is valid.
 */
#include "random_util.h"
#include "table.h"
#include "test.h"

#define PAGES_MOST 48

/* A page: -1 for a hole, else prot and flags. */
struct model {
	int prot[PAGES_MOST];
	uint32_t flags[PAGES_MOST];
};

/* The model's edit: errno, and nothing changed then. */
static int model_edit(struct model *m, enum edit edit, size_t first, size_t count, int prot,
		      uint32_t flags)
{
	for (size_t i = first; i < first + count; i++) {
		if (edit == EDIT_MAP && m->prot[i] != -1)
			return EEXIST;
		if (edit == EDIT_PROTECT && m->prot[i] == -1)
			return ENOMEM;
	}
	for (size_t i = first; i < first + count; i++) {
		m->prot[i] = edit == EDIT_UNMAP ? -1 : prot;
		if (edit == EDIT_MAP)
			m->flags[i] = flags;
	}
	return 0;
}

/* The model as a table in normal form. */
static void model_table(const struct model *m, struct table *t)
{
	t->count = 0;
	for (size_t i = 0; i < PAGES_MOST; i++) {
		struct entry *last = t->count ? &t->entries[t->count - 1] : NULL;

		if (m->prot[i] == -1)
			continue;
		if (last && last->offset + last->length == i * page() &&
		    last->prot == (uint32_t)m->prot[i] && last->flags == m->flags[i])
			last->length += page();
		else
			t->entries[t->count++] = (struct entry){i * page(), page(),
								(uint32_t)m->prot[i], m->flags[i]};
	}
}

static void model_random(struct model *m)
{
	for (size_t i = 0; i < PAGES_MOST; i++) {
		m->prot[i] = below(3) ? (int)below(5) - 1 : i ? m->prot[i - 1] : -1;
		m->flags[i] = m->prot[i] == -1 ? 0
			      : i && below(2)  ? m->flags[i - 1]
					       : (uint32_t)below(2);
	}
}

static bool table_same(const struct table *a, const struct table *b)
{
	if (a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++)
		if (a->entries[i].offset != b->entries[i].offset ||
		    a->entries[i].length != b->entries[i].length ||
		    a->entries[i].prot != b->entries[i].prot ||
		    a->entries[i].flags != b->entries[i].flags)
			return false;
	return true;
}

/* table_diff() plays its changes to this. */
struct replay {
	int prot[PAGES_MOST];
	uint64_t end; /* of the last range: they rise and never touch alike */
	uint32_t last;
	unsigned int calls, stop;
	bool sound;
};

static int replay(void *context, uint64_t offset, uint64_t length, uint32_t prot)
{
	struct replay *r = context;

	if (r->stop && ++r->calls == r->stop)
		return ECANCELED;
	r->sound &= length > 0 && offset % page() == 0 && length % page() == 0 &&
		    offset + length <= PAGES_MOST * page();
	r->sound &= r->end == UINT64_MAX || offset > r->end ||
		    (offset == r->end && prot != r->last);
	if (!r->sound)
		return EINVAL;
	for (uint64_t i = offset / page(); i < (offset + length) / page(); i++) {
		int now = prot == PROT_HOLE ? -1 : (int)prot;

		/* Only what differs. */
		r->sound &= r->prot[i] != now;
		r->prot[i] = now;
	}
	r->end = offset + length;
	r->last = prot;
	return 0;
}

static void edits(void)
{
	struct entry a[PAGES_MOST + EDIT_GROWTH], b[PAGES_MOST + EDIT_GROWTH], c[PAGES_MOST];
	struct table now = {0, a}, next = {0, b}, want = {0, c};
	int wrong = 0, invalid = 0, refused = 0, holes = 0, mapped = 0, covers = 0;
	struct model m;

	for (size_t i = 0; i < PAGES_MOST; i++)
		m = (struct model){.prot = {0}};
	for (size_t i = 0; i < PAGES_MOST; i++)
		m.prot[i] = -1;
	for (int round = 0; round < 200000; round++) {
		enum edit edit = (enum edit)below(3);
		size_t first = below(PAGES_MOST), count = 1 + below(below(4) ? 6 : PAGES_MOST);
		int prot = (int)below(4);
		uint32_t flags = (uint32_t)below(2);
		struct model before = m;

		if (first + count > PAGES_MOST)
			count = PAGES_MOST - first;
		int err = table_edit(&now, &next, edit, first * page(), count * page(),
				     (uint32_t)prot, flags);
		int expected = model_edit(&m, edit, first, count, prot, flags);

		if (err != expected)
			wrong++;
		if (err || expected) {
			m = before;
			refused++;
			continue;
		}
		model_table(&m, &want);
		wrong += !table_same(&next, &want) || !table_equal(&next, &want);
		invalid += !table_valid(&next, PAGES_MOST * page());
		struct table swap = now;

		now = next;
		next = swap;

		/* The questions about it. */
		uint64_t bytes = 0, limit = below(PAGES_MOST + 1) * page();
		uint64_t at = below(PAGES_MOST) * page(), length = 0;
		bool hole_here = false;

		for (size_t i = 0; i < PAGES_MOST; i++)
			bytes += m.prot[i] == -1 ? 0 : page();
		mapped += table_mapped(&now) != bytes;
		bool all = true;

		for (size_t i = first; i < first + count; i++)
			all &= m.prot[i] != -1;
		covers += table_covers(&now, first * page(), count * page()) != all;
		size_t i = at / page();

		while (i * page() < limit && m.prot[i] != -1)
			i++;
		hole_here = i * page() < limit;
		uint64_t offset = at;
		bool found = table_next_hole(&now, &offset, &length, limit);
		size_t j = i;

		while (j < PAGES_MOST && j * page() < limit && m.prot[j] == -1)
			j++;
		holes += found != hole_here ||
			 (found && (offset != i * page() || length != (j - i) * page()));
	}
	check(refused > 1000, "200000 random edits (%d refused)", refused);
	check_eq(wrong, 0, "table_edit does as the model, in normal form");
	check_eq(invalid, 0, "what it makes is table_valid");
	check_eq(mapped, 0, "table_mapped");
	check_eq(covers, 0, "table_covers");
	check_eq(holes, 0, "table_next_hole");
}

static void diffs(void)
{
	struct entry a[PAGES_MOST], b[PAGES_MOST];
	struct table from = {0, a}, to = {0, b};
	int wrong = 0, unsound = 0, stopped = 0;

	for (int round = 0; round < 50000; round++) {
		struct model x, y;
		struct replay r = {.end = UINT64_MAX, .sound = true};

		model_random(&x);
		y = x;
		if (below(2))
			model_random(&y);
		else
			model_edit(&y, EDIT_UNMAP, below(PAGES_MOST / 2), 1 + below(8), 0, 0);
		model_table(&x, &from);
		model_table(&y, &to);
		memcpy(r.prot, x.prot, sizeof(r.prot));
		wrong += table_diff(&from, &to, replay, &r) != 0 ||
			 memcmp(r.prot, y.prot, sizeof(r.prot)) != 0;
		unsound += !r.sound;
		wrong += !table_same(&from, &to) == table_equal(&from, &to);

		struct replay s = {.end = UINT64_MAX, .sound = true, .stop = 1};

		memcpy(s.prot, x.prot, sizeof(s.prot));
		int result = table_diff(&from, &to, replay, &s);
		bool differ = memcmp(x.prot, y.prot, sizeof(x.prot)) != 0;

		stopped += result != (differ ? ECANCELED : 0) || s.calls > 1;
	}
	check_eq(wrong, 0, "table_diff leads from any table to any other");
	check_eq(unsound, 0, "by rising ranges of what differs, each as long as can be");
	check_eq(stopped, 0, "and stops when told to");
}

static void malformed(void)
{
	const uint64_t P = page(), W = GIB;
	static struct entry many[TABLE_MAX + 1];
#define VALID(...)                                                                                 \
	({                                                                                         \
		struct entry e_[] = {__VA_ARGS__};                                                 \
		struct table t_ = {sizeof(e_) / sizeof(e_[0]), e_};                                \
		table_valid(&t_, W);                                                               \
	})
	check(table_valid(&(struct table){0, NULL}, W), "the empty table is valid");
	check(VALID({0, W, RW, 0}), "one of a whole window");
	check(VALID({0, P, RW, 0}, {P, P, PROT_READ, 0}), "neighbours that differ in prot");
	check(VALID({0, P, RW, 0}, {P, P, RW, MSHARE_MAP_NORESERVE}), "or in flags");
	check(VALID({0, P, RW, 0}, {2 * P, P, RW, 0}), "alike, and a hole between");
	check(!VALID({0, P, RW, 0}, {P, P, RW, 0}), "not: neighbours that are alike");
	check(!VALID({0, 0, RW, 0}), "not: empty");
	check(!VALID({1, P, RW, 0}), "not: an unaligned offset");
	check(!VALID({0, P + 1, RW, 0}), "not: an unaligned length");
	check(!VALID({0, P, 8, 0}), "not: an unknown protection");
	check(!VALID({0, P, PROT_HOLE, 0}), "not: the hole's");
	check(!VALID({0, P, RW, 2}), "not: unknown flags");
	check(!VALID({0, W + P, RW, 0}), "not: longer than the window");
	check(!VALID({W, P, RW, 0}), "not: past the window");
	check(!VALID({W - P, 2 * P, RW, 0}), "not: half past the window");
	check(!VALID({2 * P, P, RW, 0}, {0, P, RW, 0}), "not: unsorted");
	check(!VALID({0, 2 * P, RW, 0}, {P, P, PROT_READ, 0}), "not: overlapping");
	check(!VALID({0, P, RW, 0}, {0, P, RW, 0}), "not: twice the same");
	check(!VALID({P, UINT64_MAX - P + 1, RW, 0}), "not: an end that overflows to 0");
	check(!VALID({UINT64_MAX - P + 1, P, RW, 0}), "not: the last page there is");
	check(!VALID({UINT64_MAX - P + 1, 2 * P, RW, 0}), "not: an offset that overflows");
	check(!VALID({0, P, RW, 0}, {4 * P, UINT64_MAX - 3 * P + 1, RW, 0}, {8 * P, P, RW, 0}),
	      "not: one that wraps around before another");
	for (size_t i = 0; i <= TABLE_MAX; i++)
		many[i] = (struct entry){2 * i * P, P, RW, 0};
	check(table_valid(&(struct table){TABLE_MAX, many}, W), "as many as there may be");
	check(!table_valid(&(struct table){TABLE_MAX + 1, many}, W), "not: one more");
	check(!table_valid(&(struct table){UINT32_MAX, many}, W), "not: a count that lies");

	/* The limit, in an edit. */
	struct entry *to = malloc((TABLE_MAX + EDIT_GROWTH + 1) * sizeof(*to));
	struct table full = {TABLE_MAX, many}, next = {0, to};

	must(to != NULL);
	check_eq(table_edit(&full, &next, EDIT_MAP, (2 * TABLE_MAX + 2) * P, P, RW, 0), E2BIG,
		 "map of one too many: E2BIG");
	check_eq(table_edit(&full, &next, EDIT_MAP, P, P, RW, 0), 0, "one that joins two is fine");
	check_eq(next.count, TABLE_MAX - 1, "and makes them fewer");
	check_eq(table_edit(&full, &next, EDIT_UNMAP, 0, P, 0, 0), 0, "unmap of one");
	check_eq(next.count, TABLE_MAX - 1, "is one fewer");
	free(to);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	note("seed %" PRIu64, random_state);
	edits();
	diffs();
	malformed();
	return done();
}
