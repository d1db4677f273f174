/* SPDX-License-Identifier: MIT */
/*
 * A mapping table: what is mapped in a window, as a sorted array in normal form
 * (no two adjacent entries alike). Pure functions of their arguments, with no
 * system call in them.
 */
#ifndef MSHARE_TABLE_H
#define MSHARE_TABLE_H

#include "internal.h"

/* The shm back end stores it as it is, hence the fixed layout. */
struct entry {
	uint64_t offset; /* bytes */
	uint64_t length; /* bytes */
	uint32_t prot;
	uint32_t flags; /* MSHARE_MAP_NORESERVE */
};

/* Contract: map refuses beyond. */
#define TABLE_MAX 16384u

struct table {
	uint32_t count;
	struct entry *entries; /* malloc()ed */
};

/* An edit adds two entries at most: it splits one in three. */
#define EDIT_GROWTH 2u

enum edit { EDIT_MAP, EDIT_UNMAP, EDIT_PROTECT };

/* Is what came from outside a table in normal form, inside the window? */
bool table_valid(const struct table *table, uint64_t window);

/*
 * The table `from` with [offset, offset + length) edited into *to, whose
 * entries have room for from->count + EDIT_GROWTH. 0, or EEXIST (map over
 * something), ENOMEM (protect over a hole), E2BIG (too many).
 */
int table_edit(const struct table *from, struct table *to, enum edit edit, uint64_t offset,
	       uint64_t length, uint32_t prot, uint32_t flags);

bool table_equal(const struct table *a, const struct table *b);

/* Is all of the range mapped? */
bool table_covers(const struct table *table, uint64_t offset, uint64_t length);

#define PROT_HOLE UINT32_MAX

/*
 * Call apply for every range, by rising offset, whose protection differs
 * between the tables, with the new one (PROT_HOLE: nothing is mapped). Stops at
 * the first apply that does not return 0 and returns what that returned.
 */
int table_diff(const struct table *from, const struct table *to,
	       int (*apply)(void *context, uint64_t offset, uint64_t length, uint32_t prot),
	       void *context);

/* The first hole at or above offset, below limit: its bounds. False if there is none. */
bool table_next_hole(const struct table *table, uint64_t *offset, uint64_t *length, uint64_t limit);

uint64_t table_mapped(const struct table *table);

#endif /* MSHARE_TABLE_H */
