// SPDX-License-Identifier: MIT
#include "table.h"

#include <string.h>
#include <sys/mman.h>

#define PROT_ALL (PROT_READ | PROT_WRITE | PROT_EXEC)

static uint64_t end_of(const struct entry *entry)
{
	return entry->offset + entry->length;
}

static bool alike(const struct entry *a, const struct entry *b)
{
	return a->prot == b->prot && a->flags == b->flags;
}

bool table_valid(const struct table *table, uint64_t window)
{
	uint64_t mask = page_size() - 1;
	uint64_t end = 0;

	if (table->count > TABLE_MAX)
		return false;
	for (uint32_t i = 0; i < table->count; i++) {
		const struct entry *entry = &table->entries[i];

		if (entry->length == 0 || (entry->offset | entry->length) & mask)
			return false;
		if (entry->prot & ~(uint32_t)PROT_ALL ||
		    entry->flags & ~(uint32_t)MSHARE_MAP_NORESERVE)
			return false;
		/* In this order nothing can overflow. */
		if (entry->offset < end || entry->offset > window ||
		    entry->length > window - entry->offset)
			return false;
		if (i && entry->offset == end && alike(entry - 1, entry))
			return false;
		end = end_of(entry);
	}
	return true;
}

/* Append [start, end), merged with the last entry where they are alike and adjacent. */
static void append(struct table *table, uint64_t start, uint64_t end, uint32_t prot, uint32_t flags)
{
	struct entry next = {start, end - start, prot, flags};
	struct entry *last;

	if (start >= end)
		return;
	if (table->count) {
		last = &table->entries[table->count - 1];
		if (end_of(last) == start && alike(last, &next)) {
			last->length += next.length;
			return;
		}
	}
	table->entries[table->count++] = next;
}

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

int table_edit(const struct table *from, struct table *to, enum edit edit, uint64_t offset,
	       uint64_t length, uint32_t prot, uint32_t flags)
{
	uint64_t end = offset + length;
	bool placed = edit != EDIT_MAP;
	uint64_t covered = 0;

	to->count = 0;
	for (uint32_t i = 0; i < from->count; i++) {
		const struct entry *entry = &from->entries[i];
		uint64_t inside = max(entry->offset, offset);
		uint64_t inside_end = min(end_of(entry), end);

		if (inside < inside_end) {
			if (edit == EDIT_MAP)
				return EEXIST;
			covered += inside_end - inside;
		}
		if (!placed && entry->offset >= end) {
			append(to, offset, end, prot, flags);
			placed = true;
		}
		append(to, entry->offset, min(end_of(entry), offset), entry->prot, entry->flags);
		if (edit == EDIT_PROTECT)
			append(to, inside, inside_end, prot, entry->flags);
		append(to, max(entry->offset, end), end_of(entry), entry->prot, entry->flags);
	}
	if (!placed)
		append(to, offset, end, prot, flags);
	if (edit == EDIT_PROTECT && covered != length)
		return ENOMEM;
	return to->count > TABLE_MAX ? E2BIG : 0;
}

bool table_equal(const struct table *a, const struct table *b)
{
	return a->count == b->count &&
	       (!a->count || !memcmp(a->entries, b->entries, a->count * sizeof(*a->entries)));
}

bool table_next_hole(const struct table *table, uint64_t *offset, uint64_t *length, uint64_t limit)
{
	for (uint32_t i = 0; i < table->count && *offset < limit; i++) {
		const struct entry *entry = &table->entries[i];

		if (entry->offset > *offset) {
			*length = min(entry->offset, limit) - *offset;
			return true;
		}
		*offset = max(*offset, end_of(entry));
	}
	if (*offset >= limit)
		return false;
	*length = limit - *offset;
	return true;
}

bool table_covers(const struct table *table, uint64_t offset, uint64_t length)
{
	uint64_t hole;

	return !table_next_hole(table, &offset, &hole, offset + length);
}

/*
 * Where a table stands at `at`: the protection there, and where the next change
 * of it is (UINT64_MAX: nowhere). *index moves up with `at`.
 */
static uint32_t state_at(const struct table *table, uint32_t *index, uint64_t at, uint64_t *next)
{
	const struct entry *entry;

	while (*index < table->count && end_of(&table->entries[*index]) <= at)
		++*index;
	if (*index == table->count) {
		*next = UINT64_MAX;
		return PROT_HOLE;
	}
	entry = &table->entries[*index];
	if (entry->offset > at) {
		*next = entry->offset;
		return PROT_HOLE;
	}
	*next = end_of(entry);
	return entry->prot;
}

int table_diff(const struct table *from, const struct table *to,
	       int (*apply)(void *context, uint64_t offset, uint64_t length, uint32_t prot),
	       void *context)
{
	uint64_t at = 0, next_from, next_to;
	uint64_t run = 0, run_end = 0; /* a range that is to become run_prot */
	uint32_t run_prot = PROT_HOLE;
	uint32_t index_from = 0, index_to = 0;
	int result;

	while (at != UINT64_MAX) {
		uint32_t old = state_at(from, &index_from, at, &next_from);
		uint32_t now = state_at(to, &index_to, at, &next_to);
		uint64_t next = min(next_from, next_to);

		if (old != now && run_end == at && run_end > run && run_prot == now) {
			run_end = next;
		} else if (old != now) {
			if (run_end > run) {
				result = apply(context, run, run_end - run, run_prot);
				if (result)
					return result;
			}
			run = at;
			run_end = next;
			run_prot = now;
		}
		at = next;
	}
	return run_end > run ? apply(context, run, run_end - run, run_prot) : 0;
}

uint64_t table_mapped(const struct table *table)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < table->count; i++)
		bytes += table->entries[i].length;
	return bytes;
}
