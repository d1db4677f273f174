// SPDX-License-Identifier: MIT
/* Readers: queries, the whole index as text, how far it is. All on a descriptor opened read-only.
 */
#include "commands.h"

#include <mshare.h>
#include <stdlib.h>
#include <string.h>

/* A file that an answer names, and how often it has what was asked for. */
struct hit {
	struct index_entry at;
	uint64_t count;
};

struct hits {
	struct hit *hit;
	size_t count, room;
};

static int add_hit(struct index *ix, struct hits *hits, const struct index_entry *at,
		   uint64_t count)
{
	if (hits->count == hits->room) {
		size_t room = hits->room ? hits->room * 2 : 256;
		struct hit *hit = realloc(hits->hit, room * sizeof(*hit));

		if (hit == NULL) {
			snprintf(ix->error, sizeof(ix->error), "out of memory");
			return -1;
		}
		hits->hit = hit;
		hits->room = room;
	}
	hits->hit[hits->count++] = (struct hit){*at, count};
	return 0;
}

/* Add what the index has on one word. */
static int word_hits(struct index *ix, struct index_word *word, struct hits *hits)
{
	uint64_t seen = 0;
	const struct index_posting *posting = atomic_load_explicit(&word->postings,
								   memory_order_acquire);

	for (; posting != NULL; posting = posting->next) {
		struct index_entry entry;

		if (index_check_posting(ix, posting, &seen) != 0 ||
		    index_file_of(ix, posting, &entry) != 0)
			return -1;
		if (entry.file != NULL && add_hit(ix, hits, &entry, posting->count) != 0)
			return -1;
	}
	return 0;
}

struct prefix {
	const char *text;
	size_t length;
	struct hits *hits;
};

static int prefix_hits(struct index *ix, struct index_word *word, const char *text, size_t length,
		       void *data)
{
	struct prefix *prefix = data;

	if (length < prefix->length || memcmp(text, prefix->text, prefix->length) != 0)
		return 0;
	return word_hits(ix, word, prefix->hits);
}

static int by_file(const void *a, const void *b)
{
	const struct hit *x = a, *y = b;

	return x->at.file < y->at.file ? -1 : x->at.file > y->at.file;
}

static int by_count(const void *a, const void *b)
{
	const struct hit *x = a, *y = b;
	int order;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	order = memcmp(x->at.path, y->at.path,
		       x->at.length < y->at.length ? x->at.length : y->at.length);
	return order != 0 ? order : (x->at.length > y->at.length) - (x->at.length < y->at.length);
}

/* One entry for each file: several words have a prefix. */
static void merge(struct hits *hits)
{
	size_t to = 0;

	if (hits->count == 0)
		return;
	qsort(hits->hit, hits->count, sizeof(*hits->hit), by_file);
	for (size_t i = 1; i < hits->count; i++) {
		if (hits->hit[i].at.file == hits->hit[to].at.file)
			hits->hit[to].count += hits->hit[i].count;
		else
			hits->hit[++to] = hits->hit[i];
	}
	hits->count = to + 1;
}

/* Leave in `hits` what is in `more` as well. */
static void intersect(struct hits *hits, const struct hits *more)
{
	size_t to = 0;

	for (size_t i = 0, j = 0; i < hits->count && j < more->count;) {
		if (hits->hit[i].at.file < more->hit[j].at.file) {
			i++;
		} else if (hits->hit[i].at.file > more->hit[j].at.file) {
			j++;
		} else {
			hits->hit[to] = hits->hit[i++];
			hits->hit[to++].count += more->hit[j++].count;
		}
	}
	hits->count = to;
}

/* What comes from the region may not talk to the terminal. */
static void print_text(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];

		putchar(c < 0x20 || c == 0x7f ? '?' : c);
	}
}

static void print_answer(const char *query, struct hits *hits)
{
	uint64_t total = 0;

	for (size_t i = 0; i < hits->count; i++)
		total += hits->hit[i].count;
	printf("\"%s\": %zu files, %llu times", query, hits->count, (unsigned long long)total);
	if (hits->count > 0)
		qsort(hits->hit, hits->count, sizeof(*hits->hit), by_count);
	for (size_t i = 0; i < hits->count && i < 3; i++) {
		printf(i == 0 ? "; most in " : ", ");
		print_text(hits->hit[i].at.path, hits->hit[i].at.length);
		printf(" (%llu)", (unsigned long long)hits->hit[i].count);
	}
	putchar('\n');
	fflush(stdout);
}

static int term_hits(struct index *ix, const char *text, size_t length, bool prefix,
		     struct hits *hits)
{
	struct index_word *word;

	if (prefix) {
		struct prefix all = {text, length, hits};

		return index_each_word(ix, prefix_hits, &all);
	}
	word = index_find(ix, text, length);
	if (word == NULL)
		return ix->error[0] == '\0' ? 0 : -1;
	return word_hits(ix, word, hits);
}

static bool in_word(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c >= 0x80;
}

/* `query` is made lower case. */
static int answer(struct index *ix, char *query)
{
	struct hits hits = {0}, more = {0};
	bool first = true;
	int result = 0;

	for (char *c = query; *c != '\0'; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c |= 0x20;
	for (char *c = query; result == 0 && *c != '\0';) {
		char *start = c;
		bool prefix;
		size_t length;

		while (in_word((unsigned char)*c))
			c++;
		length = (size_t)(c - start);
		prefix = *c == '*';
		if (*c != '\0')
			c++;
		if (length == 0 && !prefix)
			continue;
		more.count = 0;
		result = term_hits(ix, start, length, prefix, first ? &hits : &more);
		merge(first ? &hits : &more);
		if (!first)
			intersect(&hits, &more);
		first = false;
	}
	if (result == 0)
		print_answer(query, &hits);
	free(hits.hit);
	free(more.hit);
	return result;
}

int command_ask(const char *name, char *const queries[])
{
	unsigned long tables = memory_status("VmPTE");
	char line[4096];
	int result = 0;
	struct index ix;

	if (index_open(&ix, name, false) != 0) {
		fprintf(stderr, "shared-index: %s\n", ix.error);
		return 1;
	}
	if (*queries != NULL) {
		while (result == 0 && *queries != NULL)
			result = answer(&ix, *queries++);
	} else {
		while (result == 0 && fgets(line, sizeof(line), stdin) != NULL) {
			line[strcspn(line, "\n")] = '\0';
			if (strcmp(line, "memory?") == 0)
				print_memory(&ix, tables);
			else
				result = answer(&ix, line);
		}
	}
	if (result != 0)
		fprintf(stderr, "shared-index: %s\n", ix.error);
	index_close(&ix);
	return result == 0 ? 0 : 1;
}

static int dump_word(struct index *ix, struct index_word *word, const char *text, size_t length,
		     void *data)
{
	struct hits *hits = data;
	uint64_t total = 0;

	hits->count = 0;
	if (word_hits(ix, word, hits) != 0)
		return -1;
	for (size_t i = 0; i < hits->count; i++)
		total += hits->hit[i].count;
	/* A word that only a killed writer's reading has is not in the index. */
	if (hits->count > 0) {
		printf("%zu %llu ", hits->count, (unsigned long long)total);
		print_text(text, length);
		putchar('\n');
	}
	return 0;
}

int command_dump(const char *name)
{
	struct hits hits = {0};
	struct index ix;
	int result;

	if (index_open(&ix, name, false) != 0) {
		fprintf(stderr, "shared-index: %s\n", ix.error);
		return 1;
	}
	result = index_each_word(&ix, dump_word, &hits);
	if (result != 0)
		fprintf(stderr, "shared-index: %s\n", ix.error);
	free(hits.hit);
	index_close(&ix);
	return result == 0 ? 0 : 1;
}

static int count_files(struct index *ix, uint64_t counts[5], uint64_t *bytes)
{
	uint64_t seen = 0;
	struct index_entry entry = {0};

	for (;;) {
		struct index_reading *reading;

		if (index_next_file(ix, &entry, &seen) != 0)
			return -1;
		if (entry.file == NULL)
			return 0;
		if (index_reading_of(ix, entry.file, &reading) != 0)
			return -1;
		counts[0]++;
		if (reading == NULL)
			continue;
		*bytes += reading->bytes;
		switch (INDEX_READ_ONCE(reading->status)) {
		case INDEX_TEXT:
			counts[INDEX_TEXT]++;
			break;
		case INDEX_BINARY:
			counts[INDEX_BINARY]++;
			break;
		case INDEX_TOO_LARGE:
			counts[INDEX_TOO_LARGE]++;
			break;
		default:
			counts[INDEX_UNREADABLE]++;
		}
	}
}

int command_status(const char *name)
{
	uint64_t counts[5] = {0}, bytes = 0;
	struct mshare_info info;
	char tables[24] = "own"; /* of each attacher */
	struct index ix;
	int result;

	if (index_open(&ix, name, false) != 0) {
		fprintf(stderr, "shared-index: %s\n", ix.error);
		return 1;
	}
	result = count_files(&ix, counts, &bytes);
	if (result != 0) {
		fprintf(stderr, "shared-index: %s\n", ix.error);
	} else if (mshare_info(ix.fd, &info, sizeof(info)) != 0) {
		fprintf(stderr, "shared-index: %s\n", mshare_errmsg());
		result = -1;
	} else {
		if (info.capabilities & MSHARE_CAP_SHARED_PAGE_TABLES)
			snprintf(tables, sizeof(tables), "%llu",
				 (unsigned long long)info.page_table_bytes);
		printf("files=%llu text=%llu binary=%llu unreadable=%llu too_large=%llu bytes=%llu "
		       "mapped=%llu attachments=%u page_tables=%s base=%p\n",
		       (unsigned long long)counts[0], (unsigned long long)counts[INDEX_TEXT],
		       (unsigned long long)counts[INDEX_BINARY],
		       (unsigned long long)counts[INDEX_UNREADABLE],
		       (unsigned long long)counts[INDEX_TOO_LARGE], (unsigned long long)bytes,
		       (unsigned long long)info.mapped, info.attachments, tables, (void *)ix.base);
	}
	index_close(&ix);
	return result == 0 ? 0 : 1;
}
