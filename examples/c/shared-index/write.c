// SPDX-License-Identifier: MIT
/* A writer: takes files off the list, and puts their words into the index. */
#include "commands.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

/* The words of one file and how often each is in it. */
struct count {
	const char *text; /* in the file's buffer; NULL: a free slot */
	uint32_t length, hash, count;
};

struct counts {
	struct count *slots;
	size_t size; /* a power of two */
	uint32_t *used;
	size_t used_count;
};

static void out_of_memory(void)
{
	fprintf(stderr, "shared-index: out of memory\n");
	exit(1);
}

static void counts_size(struct counts *counts, size_t size)
{
	counts->size = size;
	counts->slots = calloc(size, sizeof(*counts->slots));
	counts->used = calloc(size, sizeof(*counts->used));
	if (counts->slots == NULL || counts->used == NULL)
		out_of_memory();
}

static size_t counts_slot(const struct counts *counts, const char *text, uint32_t length,
			  uint32_t hash)
{
	size_t i = hash & (counts->size - 1);

	while (counts->slots[i].text != NULL &&
	       (counts->slots[i].hash != hash || counts->slots[i].length != length ||
		memcmp(counts->slots[i].text, text, length) != 0))
		i = (i + 1) & (counts->size - 1);
	return i;
}

static void counts_grow(struct counts *counts)
{
	struct counts old = *counts;

	counts_size(counts, old.size * 2);
	for (size_t i = 0; i < old.used_count; i++) {
		const struct count *from = &old.slots[old.used[i]];
		size_t to = counts_slot(counts, from->text, from->length, from->hash);

		counts->slots[to] = *from;
		counts->used[i] = (uint32_t)to;
	}
	free(old.slots);
	free(old.used);
}

static void counts_add(struct counts *counts, const char *text, uint32_t length)
{
	uint32_t hash = index_hash(text, length);
	size_t i = counts_slot(counts, text, length, hash);

	if (counts->slots[i].text == NULL) {
		if (counts->used_count == counts->size / 2) {
			counts_grow(counts);
			i = counts_slot(counts, text, length, hash);
		}
		counts->slots[i] = (struct count){text, length, hash, 0};
		counts->used[counts->used_count++] = (uint32_t)i;
	}
	counts->slots[i].count++;
}

static void counts_clear(struct counts *counts)
{
	for (size_t i = 0; i < counts->used_count; i++)
		counts->slots[counts->used[i]].text = NULL;
	counts->used_count = 0;
}

static bool ends_with(const char *path, const char *end)
{
	size_t length = strlen(path), end_length = strlen(end);

	return length >= end_length && strcmp(path + length - end_length, end) == 0;
}

static ssize_t read_all(int fd, bool gz, char *buffer, size_t room)
{
	size_t got = 0;
	ssize_t n = -1;
	int error;

	if (gz) {
		gzFile file = gzdopen(fd, "rb");

		if (file == NULL) {
			close(fd);
			return -1;
		}
		while (got < room &&
		       (n = gzread(file, buffer + got, (unsigned int)(room - got))) > 0)
			got += (size_t)n;
		/* A file that ends too early is seen in the state only, not in the last count. */
		gzerror(file, &error);
		if (error != Z_OK)
			n = -1;
		gzclose(file);
	} else {
		while (got < room) {
			n = read(fd, buffer + got, room - got);
			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				break;
			got += (size_t)n;
		}
		close(fd);
	}
	return n < 0 ? -1 : (ssize_t)got;
}

/*
 * The text of a file into `buffer`, INDEX_FILE_MAX + 1 bytes. Its path is what
 * another process says, so it is no link that is followed and no FIFO that is
 * waited for.
 */
static enum index_status read_file(const char *path, char *buffer, size_t *length)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	ssize_t got;

	*length = 0;
	if (fd < 0)
		return INDEX_UNREADABLE;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return INDEX_UNREADABLE;
	}
	got = read_all(fd, ends_with(path, ".gz"), buffer, INDEX_FILE_MAX + 1);
	if (got < 0)
		return INDEX_UNREADABLE;
	if ((size_t)got > INDEX_FILE_MAX)
		return INDEX_TOO_LARGE;
	if (memchr(buffer, 0, (size_t)got) != NULL)
		return INDEX_BINARY;
	*length = (size_t)got;
	return INDEX_TEXT;
}

static bool in_word(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c >= 0x80;
}

static void count_words(struct counts *counts, char *text, size_t length)
{
	size_t start = 0;

	for (size_t i = 0; i <= length; i++) {
		if (i < length) {
			if (text[i] >= 'A' && text[i] <= 'Z')
				text[i] |= 0x20;
			if (in_word((unsigned char)text[i]))
				continue;
		}
		if (i - start >= INDEX_WORD_MIN && i - start <= INDEX_WORD_MAX)
			counts_add(counts, text + start, (uint32_t)(i - start));
		start = i + 1;
	}
}

struct writer {
	struct index ix;
	struct counts counts;
	char *buffer;
	unsigned int files, die_in_file;
	uint64_t bytes;
};

static int write_file(struct writer *writer, const struct index_entry *entry)
{
	struct index_reading *reading = index_read_begin(&writer->ix, entry->file);
	char path[INDEX_PATH_MAX + 1];
	size_t length;

	if (reading == NULL)
		return -1;
	memcpy(path, entry->path, entry->length);
	path[entry->length] = '\0';
	reading->status = read_file(path, writer->buffer, &length);
	reading->bytes = length;
	count_words(&writer->counts, writer->buffer, length);
	writer->files++;
	for (size_t i = 0; i < writer->counts.used_count; i++) {
		const struct count *count = &writer->counts.slots[writer->counts.used[i]];

		if (writer->die_in_file != 0 && writer->files >= writer->die_in_file &&
		    i == writer->counts.used_count / 2)
			raise(SIGKILL);
		if (index_read_word(&writer->ix, reading, count->text, count->length, count->hash,
				    count->count) != 0)
			return -1;
	}
	counts_clear(&writer->counts);
	if (index_read_end(entry->file, reading))
		writer->bytes += length;
	else
		writer->files--;
	return 0;
}

/*
 * Somebody is at work on this file, or was killed over it. Doing it again is
 * right in both cases, so this wait only spares the memory of a second reading.
 */
static int wait_for_reading(struct index *ix, struct index_file *file,
			    struct index_reading **reading)
{
	for (int ms = 0; ms < 300; ms++) {
		if (index_reading_of(ix, file, reading) != 0)
			return -1;
		if (*reading != NULL)
			break;
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return 0;
}

static int write_files(struct writer *writer, bool claimed_too)
{
	uint64_t seen = 0;
	struct index_entry entry = {0};

	for (;;) {
		struct index_reading *reading;

		if (index_next_file(&writer->ix, &entry, &seen) != 0)
			return -1;
		if (entry.file == NULL)
			return 0;
		if (index_reading_of(&writer->ix, entry.file, &reading) != 0)
			return -1;
		if (reading != NULL)
			continue;
		if (atomic_exchange_explicit(&entry.file->claimed, 1, memory_order_relaxed) != 0) {
			if (!claimed_too)
				continue;
			if (wait_for_reading(&writer->ix, entry.file, &reading) != 0)
				return -1;
			if (reading != NULL)
				continue;
		}
		if (write_file(writer, &entry) != 0)
			return -1;
	}
}

int command_write(const char *name, unsigned int die_in_file, unsigned int die_in_chunk)
{
	struct writer writer = {.die_in_file = die_in_file};
	unsigned long tables = memory_status("VmPTE");
	int status = 1;

	if (index_open(&writer.ix, name, true) != 0) {
		fprintf(stderr, "shared-index: %s\n", writer.ix.error);
		return 1;
	}
	writer.ix.die_in_chunk = die_in_chunk;
	counts_size(&writer.counts, 1024);
	writer.buffer = malloc(INDEX_FILE_MAX + 1);
	if (writer.buffer == NULL)
		out_of_memory();
	if (write_files(&writer, false) == 0 && write_files(&writer, true) == 0) {
		printf("wrote files=%u bytes=%llu chunks=%u\n", writer.files,
		       (unsigned long long)writer.bytes, writer.ix.chunks_taken);
		print_memory(&writer.ix, tables);
		status = 0;
	} else {
		fprintf(stderr, "shared-index: %s\n", writer.ix.error);
	}
	free(writer.buffer);
	free(writer.counts.slots);
	free(writer.counts.used);
	index_close(&writer.ix);
	return status;
}
