/* SPDX-License-Identifier: MIT */
/* mshare(): the caller's memory that a region's window takes the place of. */
#ifndef MSHARE_ADOPT_H
#define MSHARE_ADOPT_H

#include "table.h"

struct adoption {
	uint64_t base;
	uint64_t window;
	struct table table; /* as offsets into the window */
};

/*
 * The addresses between the segments, before anything of ours (a thread's stack,
 * another view) comes to lie there, and while it is easy to go back.
 */
int holes_reserve(const struct adoption *adoption);
void holes_release(const struct adoption *adoption);

/* This process's memory, to be read whatever its protection is. */
struct source {
	int memory;  /* /proc/self/mem */
	int pagemap; /* /proc/self/pagemap */
};

int source_open(struct source *source, const char *verb);
void source_close(const struct source *source);

/*
 * Call take for each run of pages of the segment that has contents: length bytes
 * at `offset` of the window. The rest reads as zero. 0, or an errno, take's or ours.
 */
int source_copy(const struct source *source, const struct adoption *adoption,
		const struct entry *segment,
		int (*take)(void *context, int memory, uint64_t address, uint64_t offset,
			    uint64_t length),
		void *context);

/*
 * Put anonymous memory back for the first `segments` of the adoption; fetch has
 * the bytes that the region holds by now.
 */
void adoption_undo(const struct adoption *adoption, uint32_t segments,
		   void (*fetch)(void *context, const struct entry *segment, void *to),
		   void *context);

#endif /* MSHARE_ADOPT_H */
