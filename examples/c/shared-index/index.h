/* SPDX-License-Identifier: MIT */
/*
 * The word index: what lies in the region, and how processes share it.
 *
 * This header is the format. examples/ts/shared-index/layout.ts says the same
 * for TypeScript, offset by offset; the two are read and written by each other.
 *
 * Every pointer in the region is an absolute address. All processes attach at
 * the region's base, so a pointer one of them stores is a pointer to the rest.
 *
 *   header ──root──► word ──child[0..3]──► word ...            a hash trie
 *      │              └─postings─► posting ─next─► posting ...  newest first
 *      │                              └─reading─┐
 *      └─files─► file ─next─► file ...          ▼
 *                  └────────reading──────► reading ─file─► file
 *
 * No locks: a process can be killed at any instruction and there is nothing to
 * repair. Four rules make that so.
 *
 * 1. Memory comes in chunks of 1 MiB. Adding 1 to header.chunks makes a chunk
 *    one's own; one maps it, and cuts objects from it that nobody else knows of.
 *    A process killed meanwhile leaves a chunk that is never used. An object
 *    does not cross the end of a chunk, and is aligned to 8.
 * 2. An object is filled in first, and then published by a compare-and-swap of
 *    one pointer (release; who follows it loads it with acquire): a child or the
 *    root from NULL to a new word, word.postings to a posting whose next is the
 *    old value, file.reading from NULL to a reading. Published pointers but
 *    word.postings never change again, nothing is ever freed.
 * 3. A writer sets file.claimed before it indexes a file, to keep others from
 *    doing the same work. That is a hint, no lock: when only claimed files are
 *    left, writers index those too.
 * 4. A reading is one writer's attempt at one file. Its postings count when the
 *    file's reading is this one, so a file is counted once, whole, or not yet.
 *    What a killed writer leaves belongs to a reading that no file points to.
 *
 * Everything in the region is hostile until checked: a process that can write
 * to it may be wrong or worse. index_check() sees that an object lies inside
 * the window and in a chunk that is mapped, every walk has a bound, and a field
 * that matters twice is read once.
 */
#ifndef SHARED_INDEX_H
#define SHARED_INDEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define INDEX_MAGIC 0x317865646e69736dULL /* "msindex1", little endian */
#define INDEX_CHUNK ((size_t)1 << 20)
#define INDEX_DEPTH 256 /* of the trie; 400,000 words take about 20 */
#define INDEX_PATH_MAX 4095
#define INDEX_FILE_MAX ((size_t)16 << 20) /* larger ones, unpacked, are left out */

/*
 * A word: a run of ASCII letters and digits and of bytes from 0x80 up (UTF-8, taken
 * as it is), of 2 to 63 bytes, ASCII capitals made small.
 */
#define INDEX_WORD_MIN 2
#define INDEX_WORD_MAX 63

enum index_status {
	INDEX_TEXT = 1,
	INDEX_BINARY = 2,     /* a NUL byte in it: no words taken */
	INDEX_UNREADABLE = 3, /* gone, not permitted, no regular file, broken .gz */
	INDEX_TOO_LARGE = 4,  /* > INDEX_FILE_MAX */
};

struct index_header {            /* offset 0 of the region */
	_Atomic uint64_t magic;  /* stored last: the list of files is complete */
	uint64_t base;           /* that the pointers were made for */
	_Atomic uint64_t chunks; /* handed out, the header's own included */
	struct index_word *_Atomic root;
	struct index_file *files;
	uint64_t file_count;
};

struct index_word {
	struct index_word *_Atomic child[4]; /* by 2 bits of the hash a level, the highest first */
	struct index_posting *_Atomic postings;
	uint32_t hash;   /* index_hash() of the text */
	uint32_t length; /* of the text, bytes */
	char text[];
};

struct index_posting {
	struct index_posting *next;
	struct index_reading *reading;
	uint32_t count; /* times the word is in the file */
	uint32_t unused;
};

struct index_reading {
	struct index_file *file;
	uint64_t bytes;  /* of text */
	uint32_t status; /* enum index_status */
	uint32_t words;  /* different ones */
};

struct index_file {
	struct index_file *next;
	struct index_reading *_Atomic reading; /* the one that counts; NULL: none yet */
	_Atomic uint32_t claimed;
	uint32_t length; /* of the path, bytes */
	char path[];     /* absolute, no NUL at its end */
};

/* A file as it is handed out: its length read once, its path seen to be there. */
struct index_entry {
	struct index_file *file; /* NULL: none */
	const char *path;
	uint32_t length;
};

/* One load of what another process may be changing: the compiler must not load it again. */
#define INDEX_READ_ONCE(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)

/* One process's handle on an index. */
struct index {
	int fd;
	char *base;
	size_t window;
	struct index_header *header;
	bool *mapped;       /* by chunk: seen to be mapped, so that pointers into it are good */
	size_t mapped_size; /* bytes that are known to be mapped: what bounds every walk */
	char *free, *end;   /* what is left of this process's own chunk */
	unsigned int chunks_taken;
	unsigned int die_in_chunk; /* for tests: SIGKILL when the n-th chunk is taken, unmapped */
	char error[512];
};

/* All return 0 or a pointer; on failure -1 or NULL, with a sentence in ix->error. */
int index_create(struct index *ix, const char *name, size_t window);
int index_open(struct index *ix, const char *name, bool writable);
void index_close(struct index *ix);

/* Creating: list a file; publish the list. */
int index_add_file(struct index *ix, struct index_file **last, const char *path);
void index_publish(struct index *ix);

/* Writing: a reading of a file, its words, and its acceptance. */
struct index_reading *index_read_begin(struct index *ix, struct index_file *file);
int index_read_word(struct index *ix, struct index_reading *reading, const char *text,
		    size_t length, uint32_t hash, uint32_t count);
bool index_read_end(struct index_file *file, struct index_reading *reading);

/*
 * Reading. An object is checked before it is handed out. *seen is 0 at first; it
 * counts the objects of a walk, of which there are no more than memory for them.
 */
int index_next_file(struct index *ix, struct index_entry *entry, uint64_t *seen);
int index_check_posting(struct index *ix, const struct index_posting *posting, uint64_t *seen);
int index_file_of(struct index *ix, const struct index_posting *posting, struct index_entry *entry);
int index_reading_of(struct index *ix, struct index_file *file, struct index_reading **reading);
struct index_word *index_find(struct index *ix, const char *text, size_t length);
typedef int index_word_fn(struct index *ix, struct index_word *word, const char *text,
			  size_t length, void *data);
int index_each_word(struct index *ix, index_word_fn *fn, void *data);

uint32_t index_hash(const char *text, size_t length);

#endif /* SHARED_INDEX_H */
