// SPDX-License-Identifier: MIT
#include "index.h"

#include <errno.h>
#include <fcntl.h>
#include <mshare.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(offsetof(struct index_header, file_count) == 40, "layout.ts says so too");
_Static_assert(offsetof(struct index_word, text) == 48, "layout.ts says so too");
_Static_assert(sizeof(struct index_posting) == 24, "layout.ts says so too");
_Static_assert(sizeof(struct index_reading) == 24, "layout.ts says so too");
_Static_assert(offsetof(struct index_file, path) == 24, "layout.ts says so too");

__attribute__((format(printf, 2, 3))) static int fail(struct index *ix, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(ix->error, sizeof(ix->error), format, args);
	va_end(args);
	return -1;
}

static int fail_mshare(struct index *ix)
{
	return fail(ix, "%s", mshare_errmsg());
}

static int corrupt(struct index *ix, const char *what, const void *where)
{
	return fail(ix, "the index is corrupt: %s at %p", what, where);
}

/* Learn which chunks are mapped now. */
static int learn_mapped(struct index *ix)
{
	struct mshare_mapping *list = NULL;
	size_t count = 0;

	for (;;) {
		size_t room = count;

		if (mshare_mappings(ix->fd, list, sizeof(*list), &count) == 0)
			break;
		if (errno != ERANGE || count <= room) {
			free(list);
			return fail_mshare(ix);
		}
		count += 16; /* some may be added between the two calls */
		free(list);
		list = calloc(count, sizeof(*list));
		if (list == NULL)
			return fail(ix, "out of memory");
	}
	memset(ix->mapped, 0, ix->window / INDEX_CHUNK * sizeof(*ix->mapped));
	ix->mapped_size = 0;
	for (size_t i = 0; i < count; i++) {
		size_t first = (list[i].offset + INDEX_CHUNK - 1) / INDEX_CHUNK;
		size_t end = (list[i].offset + list[i].length) / INDEX_CHUNK;

		if ((list[i].prot & PROT_READ) == 0)
			continue;
		for (size_t chunk = first; chunk < end; chunk++)
			ix->mapped[chunk] = true;
		ix->mapped_size += list[i].length;
	}
	free(list);
	return 0;
}

/* Is [object, object + size) a place where an object can be? */
static bool index_check(struct index *ix, const void *object, size_t size)
{
	uint64_t offset = (uint64_t)(uintptr_t)object - (uint64_t)(uintptr_t)ix->base;
	size_t chunk = offset / INDEX_CHUNK;

	if (offset >= ix->window || offset % 8 != 0 || offset < sizeof(struct index_header))
		return false;
	if (size > INDEX_CHUNK - offset % INDEX_CHUNK)
		return false;
	/* Mapped since we looked last, or a lie. */
	return ix->mapped[chunk] || (learn_mapped(ix) == 0 && ix->mapped[chunk]);
}

/* One more object of `size` bytes in a walk; -1 if there cannot be so many: it is a circle. */
static int step(struct index *ix, uint64_t *seen, size_t size, const void *object)
{
	if (++*seen <= ix->mapped_size / size)
		return 0;
	if (learn_mapped(ix) != 0)
		return -1;
	return *seen <= ix->mapped_size / size ? 0 : corrupt(ix, "a circle", object);
}

static int take_chunk(struct index *ix)
{
	uint64_t chunk = atomic_fetch_add_explicit(&ix->header->chunks, 1, memory_order_relaxed);

	if (chunk >= ix->window / INDEX_CHUNK)
		return fail(ix, "the index is full: its window has %zu MiB", ix->window >> 20);
	if (++ix->chunks_taken == ix->die_in_chunk)
		raise(SIGKILL);
	/* In force in all attached processes when it returns: pointers into it may be published. */
	if (mshare_map(ix->fd, chunk * INDEX_CHUNK, INDEX_CHUNK, PROT_READ | PROT_WRITE, 0, -1, 0))
		return fail_mshare(ix);
	ix->mapped[chunk] = true;
	ix->free = ix->base + chunk * INDEX_CHUNK;
	ix->end = ix->free + INDEX_CHUNK;
	return 0;
}

static void *allocate(struct index *ix, size_t size)
{
	void *object;

	size = (size + 7) & ~(size_t)7;
	if (size > (size_t)(ix->end - ix->free) && take_chunk(ix) != 0)
		return NULL;
	object = ix->free;
	ix->free += size;
	return object;
}

/* Undo the last allocate(), of something that was not published. */
static void give_back(struct index *ix, void *object)
{
	ix->free = object;
}

static int attach(struct index *ix, bool writable)
{
	struct mshare_info info;
	void *base;

	base = mshare_attach(ix->fd, NULL, writable ? PROT_READ | PROT_WRITE : PROT_READ,
			     MSHARE_ATTACH_NOFORK);
	if (base == MAP_FAILED)
		return fail_mshare(ix);
	ix->base = base;
	if (mshare_info(ix->fd, &info, sizeof(info)) != 0)
		return fail_mshare(ix);
	ix->window = info.window;
	ix->header = (struct index_header *)ix->base;
	ix->mapped = calloc(ix->window / INDEX_CHUNK, sizeof(*ix->mapped));
	if (ix->mapped == NULL)
		return fail(ix, "out of memory");
	return 0;
}

int index_create(struct index *ix, const char *name, size_t window)
{
	*ix = (struct index){.fd = -1};
	ix->fd = mshare_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (ix->fd < 0)
		return fail_mshare(ix);
	if (mshare_reserve(ix->fd, NULL, window) != 0 || attach(ix, true) != 0 ||
	    mshare_map(ix->fd, 0, INDEX_CHUNK, PROT_READ | PROT_WRITE, 0, -1, 0) != 0) {
		if (ix->error[0] == '\0')
			fail_mshare(ix);
		mshare_unlink(name);
		index_close(ix);
		return -1;
	}
	ix->mapped[0] = true;
	ix->header->base = (uint64_t)(uintptr_t)ix->base;
	atomic_store_explicit(&ix->header->chunks, 1, memory_order_relaxed);
	ix->free = ix->base + sizeof(struct index_header);
	ix->end = ix->base + INDEX_CHUNK;
	return 0;
}

int index_open(struct index *ix, const char *name, bool writable)
{
	*ix = (struct index){.fd = -1};
	ix->fd = mshare_open(name, writable ? O_RDWR : O_RDONLY, 0);
	if (ix->fd < 0)
		return fail_mshare(ix);
	if (attach(ix, writable) != 0 || learn_mapped(ix) != 0)
		goto failed;
	if (!ix->mapped[0] ||
	    atomic_load_explicit(&ix->header->magic, memory_order_acquire) != INDEX_MAGIC) {
		fail(ix, "region \"%s\" holds no index (or not yet)", name);
		goto failed;
	}
	if (INDEX_READ_ONCE(ix->header->base) != (uint64_t)(uintptr_t)ix->base) {
		corrupt(ix, "its base is not where the region is attached", ix->base);
		goto failed;
	}
	return 0;
failed:
	index_close(ix);
	return -1;
}

void index_close(struct index *ix)
{
	if (ix->base != NULL)
		mshare_detach(ix->base);
	if (ix->fd >= 0)
		close(ix->fd);
	free(ix->mapped);
	ix->base = NULL;
	ix->fd = -1;
	ix->mapped = NULL;
}

uint32_t index_hash(const char *text, size_t length)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char)text[i]) * 16777619u;
	/* FNV-1a is weak in the high bits, which the trie looks at first. */
	hash = (hash ^ hash >> 16) * 0x85ebca6bu;
	hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
	return hash ^ hash >> 16;
}

/* Files: listed by the creator alone, before anybody else looks. */

int index_add_file(struct index *ix, struct index_file **last, const char *path)
{
	size_t length = strlen(path);
	struct index_file *file;

	if (length > INDEX_PATH_MAX)
		return fail(ix, "path of %zu bytes: %.60s...", length, path);
	file = allocate(ix, sizeof(*file) + length);
	if (file == NULL)
		return -1;
	file->next = NULL;
	file->reading = NULL;
	file->claimed = 0;
	file->length = (uint32_t)length;
	memcpy(file->path, path, length);
	if (*last == NULL)
		ix->header->files = file;
	else
		(*last)->next = file;
	*last = file;
	ix->header->file_count++;
	return 0;
}

void index_publish(struct index *ix)
{
	atomic_store_explicit(&ix->header->magic, INDEX_MAGIC, memory_order_release);
}

static int check_file(struct index *ix, struct index_file *file, struct index_entry *entry)
{
	uint32_t length;

	if (!index_check(ix, file, sizeof(*file)))
		return corrupt(ix, "file", file);
	length = INDEX_READ_ONCE(file->length);
	if (length > INDEX_PATH_MAX || !index_check(ix, file, sizeof(*file) + length))
		return corrupt(ix, "path", file);
	*entry = (struct index_entry){file, file->path, length};
	return 0;
}

/* The one after entry->file; NULL: the first one. At the end entry->file is NULL. */
int index_next_file(struct index *ix, struct index_entry *entry, uint64_t *seen)
{
	struct index_file *next = entry->file == NULL ? INDEX_READ_ONCE(ix->header->files)
						      : INDEX_READ_ONCE(entry->file->next);

	if (next == NULL) {
		entry->file = NULL;
		return 0;
	}
	if (step(ix, seen, sizeof(*next), next) != 0)
		return -1;
	return check_file(ix, next, entry);
}

/* *reading: the one that counts, or NULL. */
int index_reading_of(struct index *ix, struct index_file *file, struct index_reading **reading)
{
	struct index_reading *found = atomic_load_explicit(&file->reading, memory_order_acquire);

	if (found != NULL && !index_check(ix, found, sizeof(*found)))
		return corrupt(ix, "reading", found);
	*reading = found;
	return 0;
}

/* Words. */

static struct index_word *make_word(struct index *ix, const char *text, size_t length,
				    uint32_t hash)
{
	struct index_word *word = allocate(ix, sizeof(*word) + length);

	if (word == NULL)
		return NULL;
	memset(word, 0, sizeof(*word)); /* it may be memory that was given back */
	word->hash = hash;
	word->length = (uint32_t)length;
	memcpy(word->text, text, length);
	return word;
}

static struct index_word *find(struct index *ix, const char *text, size_t length, uint32_t hash,
			       bool create)
{
	struct index_word *_Atomic *slot = &ix->header->root;
	struct index_word *made = NULL;
	uint32_t bits = hash;

	for (int depth = 0; depth < INDEX_DEPTH; depth++) {
		struct index_word *word = atomic_load_explicit(slot, memory_order_acquire);

		if (word == NULL) {
			if (!create)
				return NULL;
			if (made == NULL)
				made = make_word(ix, text, length, hash);
			if (made == NULL)
				return NULL;
			if (atomic_compare_exchange_strong_explicit(slot, &word, made,
								    memory_order_release,
								    memory_order_acquire))
				return made;
			/* Somebody was faster; `word` is theirs, maybe the very one. */
		}
		if (!index_check(ix, word, sizeof(*word))) {
			corrupt(ix, "word", word);
			return NULL;
		}
		if (INDEX_READ_ONCE(word->hash) == hash &&
		    INDEX_READ_ONCE(word->length) == length &&
		    index_check(ix, word, sizeof(*word) + length) &&
		    memcmp(word->text, text, length) == 0) {
			if (made != NULL)
				give_back(ix, made);
			return word;
		}
		slot = &word->child[bits >> 30];
		bits <<= 2;
	}
	corrupt(ix, "the trie is too deep", *slot);
	return NULL;
}

/* NULL with an empty ix->error: there is no such word. */
struct index_word *index_find(struct index *ix, const char *text, size_t length)
{
	ix->error[0] = '\0';
	return find(ix, text, length, index_hash(text, length), false);
}

struct walk {
	index_word_fn *fn;
	void *data;
	uint64_t seen;
};

static int each_below(struct index *ix, struct index_word *_Atomic *slot, int depth,
		      struct walk *walk)
{
	struct index_word *word = atomic_load_explicit(slot, memory_order_acquire);
	char text[INDEX_WORD_MAX];
	uint32_t length;

	if (word == NULL)
		return 0;
	if (depth == INDEX_DEPTH)
		return corrupt(ix, "the trie is too deep", word);
	if (step(ix, &walk->seen, sizeof(*word), word) != 0)
		return -1;
	if (!index_check(ix, word, sizeof(*word)))
		return corrupt(ix, "word", word);
	length = INDEX_READ_ONCE(word->length);
	if (length > INDEX_WORD_MAX || !index_check(ix, word, sizeof(*word) + length))
		return corrupt(ix, "text of a word", word);
	memcpy(text, word->text, length);
	if (walk->fn(ix, word, text, length, walk->data) != 0)
		return -1;
	for (int i = 0; i < 4; i++)
		if (each_below(ix, &word->child[i], depth + 1, walk) != 0)
			return -1;
	return 0;
}

int index_each_word(struct index *ix, index_word_fn *fn, void *data)
{
	struct walk walk = {fn, data, 0};

	return each_below(ix, &ix->header->root, 0, &walk);
}

/* Readings. */

struct index_reading *index_read_begin(struct index *ix, struct index_file *file)
{
	struct index_reading *reading = allocate(ix, sizeof(*reading));

	if (reading != NULL)
		*reading = (struct index_reading){.file = file};
	return reading;
}

int index_read_word(struct index *ix, struct index_reading *reading, const char *text,
		    size_t length, uint32_t hash, uint32_t count)
{
	struct index_word *word = find(ix, text, length, hash, true);
	struct index_posting *posting, *head;

	if (word == NULL)
		return -1;
	posting = allocate(ix, sizeof(*posting));
	if (posting == NULL)
		return -1;
	*posting = (struct index_posting){.reading = reading, .count = count};
	head = atomic_load_explicit(&word->postings, memory_order_relaxed);
	do
		posting->next = head;
	while (!atomic_compare_exchange_weak_explicit(&word->postings, &head, posting,
						      memory_order_release, memory_order_relaxed));
	reading->words++;
	return 0;
}

/* True if this reading is the one that counts, false if somebody else's came first. */
bool index_read_end(struct index_file *file, struct index_reading *reading)
{
	struct index_reading *none = NULL;

	return atomic_compare_exchange_strong_explicit(&file->reading, &none, reading,
						       memory_order_release, memory_order_relaxed);
}

int index_check_posting(struct index *ix, const struct index_posting *posting, uint64_t *seen)
{
	if (step(ix, seen, sizeof(*posting), posting) != 0)
		return -1;
	if (!index_check(ix, posting, sizeof(*posting)))
		return corrupt(ix, "posting", posting);
	return 0;
}

/* entry->file: what the posting is about, or NULL if its reading does not count. */
int index_file_of(struct index *ix, const struct index_posting *posting, struct index_entry *entry)
{
	struct index_reading *reading = INDEX_READ_ONCE(posting->reading);

	if (!index_check(ix, reading, sizeof(*reading)))
		return corrupt(ix, "reading", reading);
	if (check_file(ix, INDEX_READ_ONCE(reading->file), entry) != 0)
		return -1;
	if (atomic_load_explicit(&entry->file->reading, memory_order_acquire) != reading)
		entry->file = NULL;
	return 0;
}
