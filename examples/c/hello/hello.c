// SPDX-License-Identifier: MIT
/*
 * Two unrelated processes, one region. Run it twice: the first run makes the
 * region and leaves a note in it, the second finds both, by following a pointer
 * that the first one stored. `hello --rm` removes the name.
 *
 * examples/ts/hello does the same; the two find each other's notes.
 */
#include <errno.h>
#include <fcntl.h>
#include <mshare.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define WINDOW ((size_t)1 << 30)
#define MAPPED ((size_t)64 << 10)

/* What is in the region. The pointers are plain ones: everybody attaches at the base. */
struct note {
	struct note *next;
	uint32_t pid;
	uint32_t length;
	char text[];
};

struct board {
	_Atomic uint64_t ready; /* 1: what follows is set up */
	_Atomic uint64_t used;  /* bytes of the mapping that are taken */
	struct note *_Atomic newest;
};

static void die(const char *doing)
{
	fprintf(stderr, "hello: %s: %s\n", doing, mshare_errmsg());
	exit(1);
}

static void sleep_1ms(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static struct board *make_region(int fd)
{
	struct board *board;

	if (mshare_reserve(fd, NULL, WINDOW) != 0)
		die("reserve");
	if (mshare_map(fd, 0, MAPPED, PROT_READ | PROT_WRITE, 0, -1, 0) != 0)
		die("map");
	board = mshare_attach(fd, NULL, PROT_READ | PROT_WRITE, 0);
	if (board == MAP_FAILED)
		die("attach");
	atomic_store(&board->used, sizeof(*board));
	atomic_store(&board->ready, 1);
	return board;
}

static struct board *find_region(int fd)
{
	struct board *board = MAP_FAILED;
	struct mshare_info info;

	/* Its maker may be at work at this very moment: give it 5 s to reserve and to map. */
	for (int ms = 0; ms < 5000; ms++) {
		if (mshare_info(fd, &info, sizeof(info)) != 0)
			die("info");
		if (info.mapped >= MAPPED)
			break;
		sleep_1ms();
	}
	board = mshare_attach(fd, NULL, PROT_READ | PROT_WRITE, 0);
	if (board == MAP_FAILED)
		die("attach");
	for (int ms = 0; ms < 5000 && info.mapped >= MAPPED; ms++) {
		if (atomic_load(&board->ready) == 1)
			return board;
		sleep_1ms();
	}
	fprintf(stderr, "hello: nobody finished setting the region up; hello --rm removes it\n");
	exit(1);
}

static void leave_note(struct board *board)
{
	char text[64];
	int length = snprintf(text, sizeof(text), "hello from process %d, in C", (int)getpid());
	size_t size = (sizeof(struct note) + (size_t)length + 7) & ~(size_t)7;
	uint64_t offset = atomic_fetch_add(&board->used, size);
	struct note *note = (struct note *)((char *)board + offset);

	if (offset + size > MAPPED) {
		fprintf(stderr, "hello: the region is full of notes; hello --rm removes it\n");
		exit(1);
	}
	note->pid = (uint32_t)getpid();
	note->length = (uint32_t)length;
	memcpy(note->text, text, (size_t)length);
	note->next = atomic_load(&board->newest);
	while (!atomic_compare_exchange_weak(&board->newest, &note->next, note))
		;
	printf("left a note at %p: \"%s\"\n", (void *)note, text);
}

int main(int argc, char *argv[])
{
	bool remove = argc > 1 && strcmp(argv[1], "--rm") == 0;
	const char *name = argc > 1 + remove ? argv[1 + remove] : "hello";
	struct board *board;
	bool made = true;
	int fd;

	if (remove) {
		if (mshare_unlink(name) != 0)
			die("unlink");
		return 0;
	}
	fd = mshare_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0 && errno == EEXIST) {
		made = false;
		fd = mshare_open(name, O_RDWR, 0);
	}
	if (fd < 0)
		die("open");
	board = made ? make_region(fd) : find_region(fd);
	printf("process %d %s region \"%s\": a window of 1 GiB at %p\n", (int)getpid(),
	       made ? "made" : "found", name, (void *)board);
	for (struct note *note = atomic_load(&board->newest); note != NULL; note = note->next)
		printf("a note at %p: \"%.*s\"\n", (void *)note, (int)note->length, note->text);
	leave_note(board);
	mshare_detach(board);
	close(fd);
	return 0;
}
