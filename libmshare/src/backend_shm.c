// SPDX-License-Identifier: MIT
/*
 * The shm back end: regions on any Linux from 5.10 on, without privilege.
 *
 * A region is one tmpfs file (or memfd). Its mapping table is in the file, and
 * every attachment has a service thread that carries the table's changes over
 * into its own process. A change is over when no attachment is left in an older
 * generation; that is asked of file locks, which the kernel drops when their
 * owner dies, so there is no process table to repair.
 *
 * THE FILE. Empty: a region without a window. Otherwise
 *
 *	0		struct header, written once, by reserve, its magic last
 *	64		three futex words: GENERATION, DRAIN, MODIFIER
 *	128		struct state: what a modifier has begun
 *	4096		table of even generations
 *	4096 + TABLE_BYTES	table of odd ones
 *	DATA_OFFSET	the window's contents
 *
 * GENERATION is the low half of the number of the table that holds; the table
 * has the whole number. Everything here is other people's data: it is copied
 * out by pread(), checked, and used; and no code of ours ever dereferences it,
 * so that a file cut short is an error and no SIGBUS. The words are mapped for
 * futex(2) alone, which answers EFAULT there.
 *
 * LOCKS in the file, by byte, all advisory and never waited for in the kernel:
 *
 *	M (byte 0)		write: one modifier at a time; it protects the control
 *				area from 128 on. read: joining, so that no generation
 *				goes by meanwhile; and a modifier whose change takes
 *				long to drain, so that others can join all the same.
 *	row g, slot s		read: attachment s has come as far as generation g
 *	rows below g		write, for a moment: nobody is left before g
 *
 * Order: M before rows. An attachment's service thread holds a row byte for as
 * long as it lives and takes M (read) only before it has one.
 *
 * Whoever may read the file can take read locks in it, and wait, wake and requeue
 * on its words. With that it can hold up changes, until their time limit, and must
 * not be able to do more: locks decide what is true, the words only when to look.
 *
 * WHO OWNS A LOCK. A service thread unshares its descriptor table
 * (CLOSE_RANGE_UNSHARE) and takes POSIX locks, whose owner is that table: no
 * close() or closefrom() of the program drops them, no child made by a raw
 * clone() inherits them, the end of the thread releases them, and the region
 * need not be opened anew, which another user may not be allowed to. A modifier
 * takes OFD locks on a description of its own; where it cannot get one (no
 * rights, no /proc, no free descriptor), it does its work on a thread that has
 * unshared its table.
 *
 * STATES of a region, g its generation; a modifier that dies leaves one of them
 * and the next one goes on from there (recover()):
 *
 *	settled == g, no punch		at rest
 *	settled == g, punch		a map allocated memory and did not publish it:
 *					free what of the range is not mapped
 *	settled < g			a change is published: drain rows below g, then
 *					free what of the punch range is not mapped, then
 *					settled = g
 *
 * No change is begun before the one before it is settled, so an attachment is at
 * most one generation behind, and the table of generation g - 1, which g + 1
 * overwrites, is nobody's any more. A table cut short by death was not yet
 * published.
 *
 * LOCKS in this process, in this order: registry (the list of attachments),
 * an attachment's apply (its window and what is known of it), changes (the list
 * of modifiers' descriptors). fork() takes all three.
 */
#include "adopt.h"
#include "backend.h"
#include "base.h"
#include "memory.h"
#include "table.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* For libcs older than the kernel calls. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define MAGIC UINT64_C(0x0a6572616873006d) /* "m\0share\n" */
#define VERSION 1u

#define DATA_OFFSET (UINT64_C(1) << 30)
#define WORDS_OFFSET 64
#define STATE_OFFSET 128
#define TABLES_OFFSET 4096
#define PAGE 4096u

enum word { GENERATION, DRAIN, MODIFIER };

struct header {
	uint64_t magic;
	uint32_t version;
	uint32_t zero;
	uint64_t window;
	uint64_t base;
	uint64_t checksum;
};

/* Written by the holder of M alone. */
struct state {
	uint64_t settled;      /* the generation that every attachment has reached */
	uint64_t punch_offset; /* memory to free, where it is not mapped, once g is drained */
	uint64_t punch_length;
	uint64_t table_room; /* bytes allocated for each table */
	uint64_t checksum;
};

/* What is at file offset 0. */
struct control {
	struct header header;
	unsigned char gap1[WORDS_OFFSET - sizeof(struct header)];
	uint32_t words[3];
	unsigned char gap2[STATE_OFFSET - WORDS_OFFSET - 3 * sizeof(uint32_t)];
	struct state state;
};

struct image {
	uint64_t generation;
	uint32_t count;
	uint32_t zero;
	/* What this generation mapped with MSHARE_MAP_POPULATE, for those it reaches. */
	uint64_t populate_offset;
	uint64_t populate_length;
	uint64_t checksum;
	uint64_t spare[3];
	struct entry entries[];
};

_Static_assert(offsetof(struct control, words) == WORDS_OFFSET &&
		       offsetof(struct control, state) == STATE_OFFSET &&
		       sizeof(struct control) <= PAGE,
	       "the file's layout");
_Static_assert(sizeof(struct entry) == 24 && sizeof(struct image) == 64, "the file's layout");

static size_t image_bytes(uint64_t count)
{
	return sizeof(struct image) + count * sizeof(struct entry);
}

static uint64_t table_offset(uint64_t generation)
{
	return TABLES_OFFSET + (generation & 1) * round_up(image_bytes(TABLE_MAX), PAGE);
}

/* Lock bytes. A row has one byte for each slot. */
#define LOCK_MODIFIER 0
#define SLOTS (UINT64_C(1) << 20)
#define ROW(generation) (((uint64_t)(generation) + 1) * SLOTS)
#define GENERATION_LIMIT (UINT64_C(1) << 42)

/*
 * A sum against accidents and half-written tables, not against malice. Its steps
 * are those of a multiplicative (FNV-like) hash, eight bytes at a time.
 */
static uint64_t checksum(uint64_t sum, const void *data, size_t size)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
		uint64_t word;

		memcpy(&word, bytes + i, sizeof(word));
		sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		sum ^= sum >> 32;
	}
	return sum;
}

static uint64_t image_checksum(const struct image *image)
{
	uint64_t sum = checksum(MAGIC, image, offsetof(struct image, checksum));

	return checksum(sum, image->entries, image->count * sizeof(struct entry));
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* When waiting that begins now is to end; UINT64_MAX: never. */
static uint64_t deadline_from_now(void)
{
	int limit = time_limit();

	return limit ? now_ns() + (uint64_t)limit * 1000000 : UINT64_MAX;
}

static long futex(uint32_t *word, int op, uint32_t value, const void *timeout, uint32_t *word2,
		  uint32_t value3)
{
	return syscall(SYS_futex, word, op, value, timeout, word2, value3);
}

/* --- reading the control area ------------------------------------------------------------- */

/*
 * Until Linux 6.13 any signal, SIGSTOP and SIGCONT too, undoes what tmpfs was
 * about to allocate: EINTR.
 */
static int file_allocate(int fd, uint64_t offset, uint64_t length)
{
	while (fallocate(fd, 0, (off_t)offset, (off_t)length) == -1)
		if (errno != EINTR)
			return errno;
	return 0;
}

static int read_word(int fd, enum word word, uint32_t *value)
{
	return read_all(fd, value, sizeof(*value), WORDS_OFFSET + word * sizeof(uint32_t));
}

/*
 * 0, or ENODATA (no window yet), EINVAL (no region), EUCLEAN (one whose file was
 * cut short or overwritten).
 */
static int header_check(int fd, const struct header *header)
{
	static const struct header nothing;
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &st) == -1)
		return errno;
	/* A reserve that died before its last step; not any file that begins with zeros. */
	if (!memcmp(header, &nothing, sizeof(nothing)) && st.stx_size > DATA_OFFSET &&
	    st.stx_size % ALIGNMENT == 0)
		return ENODATA;
	if (header->magic != MAGIC || header->version != VERSION)
		return EINVAL;
	if (header->checksum != checksum(0, header, offsetof(struct header, checksum)))
		return EUCLEAN;
	if (header->window == 0 || header->window % ALIGNMENT || header->base == 0 ||
	    header->base % ALIGNMENT || header->window > ADDRESS_LIMIT ||
	    header->base > ADDRESS_LIMIT - header->window)
		return EUCLEAN;
	return st.stx_size == DATA_OFFSET + header->window ? 0 : EUCLEAN;
}

static int header_read(int fd, struct header *header)
{
	int err;

	err = read_all(fd, header, sizeof(*header), 0);
	if (err)
		return err == EUCLEAN ? EINVAL : err;
	return header_check(fd, header);
}

static int fail_header(int err, int fd, const char *verb)
{
	switch (err) {
	case ENODATA:
		return fail(err,
			    "%s: the region of descriptor %d has no window yet; mshare_reserve() "
			    "gives it one",
			    verb, fd);
	case EINVAL:
		return fail(
			err,
			"%s: descriptor %d is no region: its file does not begin as this version "
			"of libmshare's regions do",
			verb, fd);
	case EUCLEAN:
		return fail(
			err,
			"%s: the control area of the region of descriptor %d is damaged: its file "
			"was cut short or written over; make the region anew",
			verb, fd);
	default:
		return fail(err, "%s: cannot read the region of descriptor %d", verb, fd);
	}
}

static struct table table_of(struct image *image)
{
	return (struct table){.count = image->count, .entries = image->entries};
}

/* Empty, with room for count entries. */
static struct image *image_new(uint64_t count)
{
	struct image *image = malloc(image_bytes(count));

	if (image)
		memset(image, 0, sizeof(*image));
	return image;
}

/*
 * The table whose number's low half is `generation`, malloc()ed with room for
 * one more edit. EUCLEAN if what is there is not that table.
 */
static int image_read(int fd, uint32_t generation, uint64_t window, struct image **out)
{
	/* Most tables are small: one system call, and little to copy. */
	const uint32_t first = (1024 - sizeof(struct image)) / sizeof(struct entry);
	struct image *image = image_new(first + EDIT_GROWTH);
	struct table table;
	int err;

	if (!image)
		return ENOMEM;
	err = read_all(fd, image, image_bytes(first), table_offset(generation));
	if (!err && image->count > TABLE_MAX)
		err = EUCLEAN;
	if (!err && image->count > first) {
		uint32_t count = image->count;

		free(image);
		image = image_new(count + EDIT_GROWTH);
		if (!image)
			return ENOMEM;
		err = read_all(fd, image, image_bytes(count), table_offset(generation));
		/* It may be another one by now, which the checks below tell. */
		if (!err && image->count > count)
			err = EUCLEAN;
	}
	if (err) {
		free(image);
		return err == ENODATA ? EUCLEAN : err;
	}
	table = table_of(image);
	if ((uint32_t)image->generation != generation || image->generation >= GENERATION_LIMIT ||
	    image->checksum != image_checksum(image) || !table_valid(&table, window) ||
	    image->populate_offset > window ||
	    image->populate_length > window - image->populate_offset) {
		free(image);
		return EUCLEAN;
	}
	*out = image;
	return 0;
}

/*
 * The table that holds, read without a lock. Two changes may go by meanwhile and
 * overwrite what is being read; the word tells, and one looks again.
 */
static int image_current(int fd, uint64_t window, struct image **out)
{
	uint64_t deadline = deadline_from_now();
	uint32_t before, after;
	int err;

	for (;;) {
		err = read_word(fd, GENERATION, &before);
		if (err)
			return err == ENODATA ? EUCLEAN : err;
		err = image_read(fd, before, window, out);
		if (err != EUCLEAN)
			return err;
		err = read_word(fd, GENERATION, &after);
		if (err || after == before)
			return EUCLEAN;
		if (now_ns() > deadline)
			return EBUSY;
	}
}

/* --- locks and waiting -------------------------------------------------------------------- */

/* Somebody who holds locks in a region's file. */
struct owner {
	int fd;
	int setlk;       /* F_OFD_SETLK, or F_SETLK in a table of one's own */
	uint32_t *words; /* of the control area, for futex() alone */
	bool writable;   /* words is mapped for writing */
	uint64_t deadline;
	sigset_t waiting; /* the signal mask to wait with */
};

static int lock_set(const struct owner *owner, short type, uint64_t start, uint64_t length)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)start,
		.l_len = (off_t)length,
	};

	return fcntl(owner->fd, owner->setlk, &lock) == -1 ? errno : 0;
}

/* Does somebody else hold a lock in the range? 1 yes (and *found), 0 no, or -1. */
static int lock_test(int fd, int getlk, uint64_t start, uint64_t length, struct flock *found)
{
	*found = (struct flock){
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)start,
		.l_len = (off_t)length,
	};
	if (length == 0)
		return 0;
	if (fcntl(fd, getlk, found) == -1)
		return -1;
	return found->l_type != F_UNLCK;
}

/*
 * How many attachments hold a byte in the range. The kernel gives one of the
 * locks that are in the way, so the range is cut there and both sides are asked.
 * A drain in progress (a write lock) is no attachment. Slots are random, so the
 * recursion is as deep as a random tree; the bound is for those who mean ill, in
 * whose favour a number may be too small.
 */
static uint32_t lock_count(int fd, uint64_t start, uint64_t length, int depth, pid_t *pid)
{
	uint64_t end = start + length;
	struct flock found;
	uint32_t count = 0;

	while (start < end && lock_test(fd, F_OFD_GETLK, start, end - start, &found) == 1) {
		uint64_t left = (uint64_t)found.l_start > start ? (uint64_t)found.l_start : start;

		if (found.l_type == F_RDLCK) {
			if (pid && found.l_pid > 0)
				*pid = found.l_pid;
			count++;
		}
		if (depth > 0)
			count += lock_count(fd, start, left - start, depth - 1, pid);
		start = found.l_len ? (uint64_t)found.l_start + (uint64_t)found.l_len : end;
	}
	return count;
}

#define COUNT_DEPTH 200

/* Attachments that have not come as far as the generation; *pid: one's process, or 0. */
static uint32_t stragglers_count(int fd, uint64_t generation, pid_t *pid)
{
	return lock_count(fd, ROW(0), ROW(generation) - ROW(0), COUNT_DEPTH, pid);
}

/*
 * Sleep until the word is not `seen` any more, or for a millisecond: whoever
 * would wake us may have died or may have no right to write to the word.
 */
static void word_wait(const struct owner *owner, enum word word, uint32_t seen)
{
	struct timespec pause = {.tv_nsec = 1000000};
	sigset_t all;

	pthread_sigmask(SIG_SETMASK, &owner->waiting, &all);
	if (futex(&owner->words[word], FUTEX_WAIT, seen, &pause, NULL, 0) == -1 && errno == EFAULT)
		nanosleep(&pause, NULL);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
}

/*
 * Change the word for those about to wait on it, and wake `count` who do. The
 * kernel does both, in one call, because only the kernel can fault harmlessly.
 * How many were woken, or -1. Who may not write only wakes.
 */
static long word_bump(const struct owner *owner, enum word word, uint32_t count)
{
	uint32_t *at = &owner->words[word];

	if (!owner->writable)
		return futex(at, FUTEX_WAKE, count, NULL, NULL, 0);
	return futex(at, FUTEX_WAKE_OP, count, NULL, at,
		     FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_LT, 0));
}

/* Take a lock, waiting for it until the deadline. 0, ETIMEDOUT, or what fcntl() said. */
static int lock_wait(const struct owner *owner, short type, uint64_t start, uint64_t length,
		     enum word word)
{
	uint32_t seen = 0;
	int err;

	err = lock_set(owner, type, start, length);
	while (err == EAGAIN || err == EACCES) {
		/* Look at the word first: a change of it after that ends the wait at once. */
		if (read_word(owner->fd, word, &seen))
			seen = 0;
		err = lock_set(owner, type, start, length);
		if (err != EAGAIN && err != EACCES)
			break;
		/* Not before: we may ourselves have been stopped past the deadline. */
		if (now_ns() >= owner->deadline)
			return ETIMEDOUT;
		word_wait(owner, word, seen);
	}
	return err;
}

static void lock_release(const struct owner *owner, uint64_t start, uint64_t length)
{
	lock_set(owner, F_UNLCK, start, length);
}

static uint32_t *words_map(int fd, bool writable)
{
	char *page = mmap(NULL, PAGE, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd,
			  0);

	return page == MAP_FAILED ? NULL : (uint32_t *)(page + WORDS_OFFSET);
}

static void words_unmap(uint32_t *words)
{
	if (words)
		munmap((char *)words - WORDS_OFFSET, PAGE);
}

/* The descriptor table of this thread shall be its own, with nothing in it but fd. */
static int table_unshare(int fd)
{
	if (syscall(SYS_close_range, (unsigned int)fd + 1, ~0U, CLOSE_RANGE_UNSHARE) == -1)
		return errno;
	if (fd > 0 && syscall(SYS_close_range, 0, (unsigned int)fd - 1, 0) == -1)
		return errno;
	return 0;
}

static void signals_block(sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, before);
}

/*
 * A thread of ours: no signal is ever delivered there, and its stack is small.
 * The caller has blocked all signals, which the thread inherits.
 */
static int thread_start(pthread_t *thread, void *(*run)(void *), void *arg)
{
	pthread_attr_t attr;
	long least;
	int err;

	err = pthread_attr_init(&attr);
	if (err)
		return err;
	/* On glibc from 2.34 on, the least there can be counts thread-local storage. */
	least = sysconf(_SC_THREAD_STACK_MIN);
	pthread_attr_setstacksize(&attr, (256 << 10) + (least > 0 ? (size_t)least : 0));
#ifdef __SANITIZE_THREAD__
	/*
	 * ThreadSanitizer knows a thread by its pthread_t, which lies in its stack. In a child of
	 * fork() it remembers the parent's threads, while glibc hands their stacks to new ones, and
	 * it ends the process. So there, no stack is used twice.
	 */
	void *stack = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

	if (stack != MAP_FAILED)
		pthread_attr_setstack(&attr, stack, 1 << 20);
#endif
	err = pthread_create(thread, &attr, run, arg);
	pthread_attr_destroy(&attr);
	/* A program with much thread-local storage needs more than that. */
	return err == EINVAL ? pthread_create(thread, NULL, run, arg) : err;
}

/* --- changing a region -------------------------------------------------------------------- */

struct change {
	const char *verb;
	int user_fd; /* the caller's, for messages */
	struct owner owner;
	uint32_t drain_seen; /* DRAIN before the change was published */
	bool woken;          /* publishing woke somebody, who will bump DRAIN */

	struct header header;
	struct state state;
	struct image *image; /* of the generation that holds */

	/* what is asked for */
	int (*body)(struct change *change);
	uint64_t offset; /* or the base, for reserve */
	uint64_t length; /* or the window */
	int prot;
	int flags; /* or the advice */
	const struct adoption *adoption;

	int opened;          /* what was opened for it, or -1 */
	struct change *next; /* in changes */
};

static pthread_mutex_t changes_lock = PTHREAD_MUTEX_INITIALIZER;
static struct change *changes; /* those with a descriptor that a child must close */

static int fail_busy(const struct change *change, const char *why)
{
	return fail(EBUSY,
		    "%s: nothing was changed: %s for %d ms (mshare_set_timeout() sets the limit)",
		    change->verb, why, time_limit());
}

static int state_write(struct change *change)
{
	struct state *state = &change->state;

	state->checksum = checksum(MAGIC, state, offsetof(struct state, checksum));
	return write_all(change->owner.fd, state, sizeof(*state), STATE_OFFSET);
}

/* Read and check the control area. M is held, so nothing moves meanwhile. */
static int load(struct change *change)
{
	struct state *state = &change->state;
	int fd = change->owner.fd;
	struct control control;
	int err;

	err = read_all(fd, &control, sizeof(control), 0);
	if (err == EUCLEAN)
		err = EINVAL;
	if (!err)
		err = header_check(fd, &control.header);
	if (!err)
		err = image_read(fd, control.words[GENERATION], control.header.window,
				 &change->image);
	change->header = control.header;
	change->drain_seen = control.words[DRAIN];
	*state = control.state;
	if (!err && (state->checksum != checksum(MAGIC, state, offsetof(struct state, checksum)) ||
		     state->settled > change->image->generation ||
		     change->image->generation - state->settled > 1 ||
		     state->punch_offset > change->header.window ||
		     state->punch_length > change->header.window - state->punch_offset ||
		     state->table_room > round_up(image_bytes(TABLE_MAX), PAGE)))
		err = EUCLEAN;
	return err ? fail_header(err, change->user_fd, change->verb) : 0;
}

/* Free what of the pending range is not mapped. */
static int punch(struct change *change)
{
	struct table table = table_of(change->image);
	uint64_t offset = change->state.punch_offset;
	uint64_t limit = offset + change->state.punch_length;
	uint64_t length;

	while (table_next_hole(&table, &offset, &length, limit)) {
		if (fallocate(change->owner.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)(DATA_OFFSET + offset), (off_t)length) == -1)
			return errno;
		offset += length;
	}
	return 0;
}

static int drain(struct change *change)
{
	const struct owner *owner = &change->owner;
	uint64_t rows = ROW(change->image->generation) - ROW(0);
	int err;

	if (rows == 0)
		return 0;
	/* Whoever was woken cannot have followed already: sleep before asking. */
	if (change->woken)
		word_wait(owner, DRAIN, change->drain_seen);
	/* Let go with M: until then nobody has business in these rows. */
	err = lock_set(owner, F_WRLCK, ROW(0), rows);
	if (err != EAGAIN && err != EACCES)
		return err;
	/* It may take long, and those who join need not wait for it, nor a fork() for them. */
	err = lock_set(owner, F_RDLCK, LOCK_MODIFIER, 1);
	return err ? err : lock_wait(owner, F_WRLCK, ROW(0), rows, DRAIN);
}

/* The second half of a change, whoever began it: drain, free, note that it is over. */
static int settle(struct change *change)
{
	struct state *state = &change->state;
	int err = 0;

	if (state->settled < change->image->generation) {
		err = test_point("draining");
		if (!err)
			err = drain(change);
		if (err)
			return err;
	}
	err = test_point("drained");
	if (!err && state->punch_length)
		err = punch(change);
	if (!err)
		err = test_point("punched");
	if (err)
		return err;
	state->settled = change->image->generation;
	state->punch_offset = state->punch_length = 0;
	return state_write(change);
}

/* Before any change: finish what a predecessor left. */
static int recover(struct change *change)
{
	char who[160];
	pid_t pid = 0;
	uint32_t behind;
	int err;

	if (load(change) == -1)
		return -1;
	if (change->state.settled == change->image->generation && !change->state.punch_length)
		return 0;
	err = settle(change);
	/* drain() may have left us with M for reading. */
	if (!err)
		err = lock_wait(&change->owner, F_WRLCK, LOCK_MODIFIER, 1, MODIFIER);
	if (err != ETIMEDOUT)
		return err ? fail(err, "%s: cannot finish the change before this one", change->verb)
			   : 0;
	behind = stragglers_count(change->owner.fd, change->image->generation, &pid);
	snprintf(who, sizeof(who),
		 "the change before this one has not reached %u attachment%s (process %d is one: "
		 "stopped?)",
		 behind, behind == 1 ? "" : "s", pid);
	return fail_busy(change, who);
}

static int image_write(struct change *change, struct image *image)
{
	uint64_t offset = table_offset(image->generation);
	size_t size = image_bytes(image->count);
	int err;

	image->checksum = image_checksum(image);
#ifdef MSHARE_TEST_POINTS
	size_t half = size / 2;

	err = write_all(change->owner.fd, image, half, offset);
	if (!err)
		err = test_point("table-half");
	if (!err)
		err = write_all(change->owner.fd, (char *)image + half, size - half, offset + half);
#else
	err = write_all(change->owner.fd, image, size, offset);
#endif
	return err ? err : test_point("table-written");
}

/*
 * Memory for both tables to grow into, a page more than `count` entries need, so
 * that unmap and protect, which may split, find room on a tmpfs that has become
 * full. For them it is an attempt.
 */
static int table_room(struct change *change, uint64_t count)
{
	uint64_t most = round_up(image_bytes(TABLE_MAX), PAGE);
	uint64_t room = round_up(image_bytes(count), PAGE) + PAGE;

	if (room > most)
		room = most;
	if (room <= change->state.table_room)
		return 0;
	for (uint64_t i = 0; i < 2; i++) {
		int err = file_allocate(change->owner.fd, table_offset(i), room);

		if (err)
			return err;
	}
	change->state.table_room = room;
	return 0;
}

static int fail_change(struct change *change, int err)
{
	/* For the control area, then: both tables, and the first page of a new region. */
	if (err == ENOSPC || err == ENOMEM) {
		uint64_t count = change->image ? change->image->count + EDIT_GROWTH : 0;

		return memory_fail(change->owner.fd, err,
				   PAGE + 2 * round_up(image_bytes(count), PAGE), change->verb);
	}
	if (err == EFBIG)
		return fail(err,
			    "%s: the limit RLIMIT_FSIZE of this process is below the size of the "
			    "region's file",
			    change->verb);
	return fail(err, "%s: the change could not be carried out", change->verb);
}

/* Undo what was begun and not published. */
static int abandon(struct change *change, int err)
{
	if (change->state.punch_length && punch(change) == 0) {
		change->state.punch_offset = change->state.punch_length = 0;
		state_write(change);
	}
	return fail_change(change, err);
}

/*
 * The kernel adds before it wakes, and waking can fail: a reader who waits on the
 * word in some odd way (FUTEX_WAIT_REQUEUE_PI) makes it EINVAL. So the word tells
 * whether the change is published; whom it did not wake finds out by himself.
 */
static int publish(struct change *change, uint64_t generation)
{
	long woken = word_bump(&change->owner, GENERATION, INT_MAX);
	int err = errno;
	uint32_t now;

	change->woken = woken > 0;
	if (woken != -1)
		return 0;
	if (read_word(change->owner.fd, GENERATION, &now) == 0 && now == (uint32_t)generation)
		return 0;
	return err == EFAULT ? EUCLEAN : err;
}

/* Write the next table, publish it, and see it through. Takes `next` over. */
static int commit(struct change *change, struct image *next)
{
	pid_t pid = 0;
	uint32_t behind;
	int err;

	next->generation = change->image->generation + 1;
	err = next->generation < GENERATION_LIMIT ? image_write(change, next) : EOVERFLOW;
	if (!err)
		err = publish(change, next->generation);
	if (err) {
		free(next);
		return abandon(change, err);
	}
	free(change->image);
	change->image = next;
	err = test_point("published");
	if (!err)
		err = settle(change);
	if (!err)
		err = test_point("settled");
	if (!err)
		return 0;
	if (err != ETIMEDOUT)
		return fail(err,
			    "%s: the change is published; finishing it is left to the next one",
			    change->verb);
	behind = stragglers_count(change->owner.fd, next->generation, &pid);
	return fail(ETIMEDOUT,
		    "%s: the change is published and will arrive, but after %d ms %u attachment%s "
		    "not followed (process %d is one: stopped?)",
		    change->verb, time_limit(), behind, behind == 1 ? " has" : "s have", pid);
}

static int window_check(const struct change *change)
{
	uint64_t window = change->header.window;

	if (change->offset > window || change->length > window - change->offset)
		return fail(
			EINVAL,
			"%s: offset 0x%llx plus length 0x%llx is past the window, which has 0x%llx "
			"bytes",
			change->verb, (unsigned long long)change->offset,
			(unsigned long long)change->length, (unsigned long long)window);
	return 0;
}

/*
 * Memory for the range, in steps between which a signal can come in. Small ones:
 * a process that is stopped and continued all the time shall get on.
 */
static int allocate(struct change *change)
{
	const uint64_t step = UINT64_C(16) << 20;
	sigset_t all;
	int err;

	for (uint64_t done = 0; done < change->length; done += step) {
		uint64_t length = change->length - done < step ? change->length - done : step;

		err = file_allocate(change->owner.fd, DATA_OFFSET + change->offset + done, length);
		if (err)
			return err;
		pthread_sigmask(SIG_SETMASK, &change->owner.waiting, &all);
		pthread_sigmask(SIG_SETMASK, &all, NULL);
	}
	return 0;
}

static int fail_edit(const struct change *change, int err)
{
	unsigned long long start = change->offset, end = start + change->length;

	switch (err) {
	case EEXIST:
		return fail(err, "%s: something is mapped already at 0x%llx … 0x%llx", change->verb,
			    start, end);
	case ENOMEM:
		return fail(err, "%s: nothing is mapped in a part of 0x%llx … 0x%llx", change->verb,
			    start, end);
	default:
		return fail(err, "%s: the region would have more than %u mappings", change->verb,
			    TABLE_MAX);
	}
}

/*
 * What has to be there before a change is published: room in the tables, memory,
 * and, first of all, word of what there may be to free should we not come to an end.
 */
static int prepare(struct change *change, enum edit edit, uint32_t count)
{
	bool reserves = edit == EDIT_MAP && !(change->flags & MSHARE_MAP_NORESERVE);
	int err = table_room(change, count);

	if (err && edit == EDIT_MAP)
		return fail_change(change, err);
	if (reserves && memory_check(change->owner.fd, change->length, change->verb) == -1)
		return -1;
	if (!reserves && edit != EDIT_UNMAP)
		return 0;
	change->state.punch_offset = change->offset;
	change->state.punch_length = change->length;
	err = state_write(change);
	if (!err)
		err = test_point("map-intent");
	if (!err && reserves)
		err = allocate(change);
	if (!err && reserves)
		err = test_point("map-allocated");
	if (!err)
		return 0;
	abandon(change, err);
	return err == ENOSPC || err == ENOMEM
		       ? memory_fail(change->owner.fd, err, change->length, change->verb)
		       : -1;
}

static int change_table(struct change *change, enum edit edit)
{
	struct table from, to;
	struct image *next;
	int err;

	if (recover(change) == -1 || window_check(change) == -1)
		return -1;
	if (edit != EDIT_UNMAP && exec_check(change->owner.fd, change->prot, change->verb) == -1)
		return -1;
	next = image_new(change->image->count + EDIT_GROWTH);
	if (!next)
		return fail(ENOMEM, "%s: no memory", change->verb);
	from = table_of(change->image);
	to = table_of(next);
	err = table_edit(&from, &to, edit, change->offset, change->length, (uint32_t)change->prot,
			 (uint32_t)change->flags & MSHARE_MAP_NORESERVE);
	next->count = to.count;
	if (err || table_equal(&from, &to)) {
		free(next);
		return err ? fail_edit(change, err) : 0;
	}
	if (prepare(change, edit, next->count) == -1) {
		free(next);
		return -1;
	}
	if (edit == EDIT_MAP && change->flags & MSHARE_MAP_POPULATE) {
		next->populate_offset = change->offset;
		next->populate_length = change->length;
	}
	return commit(change, next);
}

static int body_map(struct change *change)
{
	return change_table(change, EDIT_MAP);
}

static int body_unmap(struct change *change)
{
	return change_table(change, EDIT_UNMAP);
}

static int body_protect(struct change *change)
{
	return change_table(change, EDIT_PROTECT);
}

/* Bytes of memory that the contents take: those of the file, less the control area. */
static uint64_t resident_bytes(int fd, const struct state *state)
{
	uint64_t control = PAGE + 2 * state->table_room, file;
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BLOCKS, &st) == -1)
		return 0;
	file = st.stx_blocks * 512;
	return file > control ? file - control : 0;
}

/* The most bytes of the range that can be without memory yet. */
static uint64_t unallocated(const struct change *change)
{
	struct table table = table_of(change->image);
	uint64_t mapped = table_mapped(&table);
	uint64_t resident = resident_bytes(change->owner.fd, &change->state);
	uint64_t bytes = mapped > resident ? mapped - resident : 0;

	return bytes < change->length ? bytes : change->length;
}

static int body_advise(struct change *change)
{
	struct table table;
	int fd = change->owner.fd;
	off_t offset = (off_t)(DATA_OFFSET + change->offset);
	int err = 0;

	if (recover(change) == -1 || window_check(change) == -1)
		return -1;
	table = table_of(change->image);
	if (!table_covers(&table, change->offset, change->length))
		return fail_edit(change, ENOMEM);
	switch (change->flags) {
	case MADV_NORMAL:
	case MADV_DONTNEED: /* of shared memory: the contents stay */
		return 0;
	case MADV_WILLNEED:
		err = posix_fadvise(fd, offset, (off_t)change->length, POSIX_FADV_WILLNEED);
		break;
	case MADV_REMOVE:
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
			      (off_t)change->length) == -1)
			err = errno;
		break;
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		if (memory_check(fd, unallocated(change), change->verb) == -1)
			return -1;
		err = allocate(change);
		if (err == ENOSPC || err == ENOMEM)
			return memory_fail(fd, err, change->length, change->verb);
		break;
	}
	return err ? fail_change(change, err) : 0;
}

/* --- reserve ------------------------------------------------------------------------------ */

static int body_reserve(struct change *change)
{
	struct header header = {.version = VERSION,
				.window = change->length,
				.base = change->offset};
	uint64_t size = DATA_OFFSET + change->length;
	int fd = change->owner.fd;
	struct image *empty;
	struct rlimit limit;
	int err;

	err = header_read(fd, &change->header);
	if (!err)
		return fail(EEXIST, "%s: the region has its window already: 0x%llx bytes at 0x%llx",
			    change->verb, (unsigned long long)change->header.window,
			    (unsigned long long)change->header.base);
	if (err != ENODATA)
		return fail_header(err, change->user_fd, change->verb);
	/* Ahead of the kernel, which would also send SIGXFSZ. */
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < size)
		return fail(EFBIG,
			    "%s: the region's file needs a size of 0x%llx bytes, and the limit "
			    "RLIMIT_FSIZE of this process is 0x%llx",
			    change->verb, (unsigned long long)size,
			    (unsigned long long)limit.rlim_cur);
	if (!header.base)
		header.base = base_choose(header.window);
	if (!header.base)
		return fail(ENOMEM,
			    "%s: no base could be chosen for a window of 0x%llx bytes; give one",
			    change->verb, (unsigned long long)header.window);

	empty = image_new(0);
	if (!empty)
		return fail(ENOMEM, "%s: no memory", change->verb);
	empty->checksum = image_checksum(empty);
	/* ftruncate() to 0 first: a predecessor may have died half-way. */
	err = ftruncate(fd, 0) == -1 || ftruncate(fd, (off_t)size) == -1 ? errno : 0;
	if (!err)
		err = test_point("reserve-sized");
	if (!err)
		err = file_allocate(fd, 0, PAGE);
	if (!err)
		err = table_room(change, 0);
	if (!err)
		err = write_all(fd, empty, sizeof(*empty), table_offset(0));
	if (!err)
		err = state_write(change);
	if (!err)
		err = test_point("reserve-header");
	header.magic = MAGIC;
	header.checksum = checksum(0, &header, offsetof(struct header, checksum));
	/* From here on the region has a window. */
	if (!err)
		err = write_all(fd, &header, sizeof(header), 0);
	free(empty);
	if (err) {
		if (ftruncate(fd, 0) == -1)
			return fail_change(change, errno);
		return fail_change(change, err);
	}
	/* A memfd can be kept from being cut short; a file with a name cannot (EINVAL). */
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	return 0;
}

/* --- running a change --------------------------------------------------------------------- */

/* With change->owner in place: take M, do the work, let go. */
static int change_run(struct change *change)
{
	struct owner *owner = &change->owner;
	int result, err;

	owner->deadline = deadline_from_now();
	err = lock_wait(owner, F_WRLCK, LOCK_MODIFIER, 1, MODIFIER);
	if (err == ETIMEDOUT)
		result = fail_busy(change, "others held the region's modifier lock");
	else if (err)
		result = fail(err, "%s: cannot take the region's modifier lock", change->verb);
	else
		result = change->body(change);
	free(change->image);
	/* By hand: some child may have inherited the description that close() would end. */
	lock_release(owner, 0, 0);
	word_bump(owner, MODIFIER, 1);
	return result;
}

struct delegate {
	struct change *change;
	struct error_state error;
	int result;
};

static void *change_delegated(void *arg)
{
	struct delegate *delegate = arg;
	struct owner *owner = &delegate->change->owner;
	const char *verb = delegate->change->verb;
	int err = table_unshare(owner->fd);

	if (err)
		delegate->result = fail(err, "%s: cannot unshare a thread's descriptor table",
					verb);
	else if (!(owner->words = words_map(owner->fd, true)))
		delegate->result = fail(errno, "%s: cannot map the region's control area", verb);
	else
		delegate->result = change_run(delegate->change);
	words_unmap(owner->words);
	error_save(&delegate->error);
	return NULL;
}

/* In a thread with a descriptor table of its own, where POSIX locks are as good. */
static int change_delegate(struct change *change, int fd)
{
	struct delegate delegate = {.change = change};
	pthread_t thread;
	int err;

	/* pwrite() would append, whatever the offset (pwrite(2), BUGS). */
	if (fcntl(fd, F_GETFL) & O_APPEND)
		return fail(EINVAL,
			    "%s: descriptor %d was opened with O_APPEND, and the region cannot be "
			    "opened anew",
			    change->verb, fd);
	change->owner.fd = fd;
	change->owner.setlk = F_SETLK;
	/* The thread is no place for the program's signal handlers. */
	sigfillset(&change->owner.waiting);
	err = thread_start(&thread, change_delegated, &delegate);
	if (err)
		return fail(err, "%s: cannot start a thread", change->verb);
	pthread_join(thread, NULL);
	return delegate.result == -1 ? error_raise(&delegate.error) : delegate.result;
}

/*
 * Descriptors of ours in the program's table are the program's to close, by
 * closefrom() for one, and then the number may be another file's.
 */
static bool still_of(int fd, const struct identity *identity)
{
	struct identity now;

	return fd != -1 && identity_of(fd, &now) && identity_equal(&now, identity);
}

static void close_if_still_of(int fd, const struct identity *identity)
{
	if (still_of(fd, identity))
		close(fd);
}

/*
 * A process that has the region attached has most of what a change needs: a
 * description of its own that is open for long, and the words mapped. One change
 * at a time may borrow them.
 */
struct attachment;
static struct attachment *borrow(int fd, struct change *change);
static void give_back(struct attachment *a);
static void fork_register(void);

/* A description that nobody shares, or -1. */
static int description_new(int fd)
{
	char path[40];

	/* thread-self: a thread may have a descriptor table of its own. */
	snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", fd);
	return open(path, O_RDWR | O_CLOEXEC);
}

/* changes_lock is held: a fork() sees the descriptor and the change, or neither. */
static void change_enlist(struct change *change, int opened)
{
	change->opened = opened;
	change->next = changes;
	changes = change;
}

static void change_strike(const struct change *change)
{
	struct change **link = &changes;

	while (*link != change)
		link = &(*link)->next;
	*link = change->next;
}

/* With a description that is open for this change alone. */
static int change_unattached(struct change *change, int fd)
{
	struct owner *owner = &change->owner;
	int result;

	pthread_mutex_lock(&changes_lock);
	owner->fd = description_new(fd);
	change_enlist(change, owner->fd);
	pthread_mutex_unlock(&changes_lock);

	if (owner->fd == -1) {
		result = change_delegate(change, fd);
	} else {
		owner->words = words_map(owner->fd, true);
		if (owner->words)
			result = change_run(change);
		else
			result = fail(errno, "%s: cannot map the region's control area",
				      change->verb);
		words_unmap(owner->words);
	}

	pthread_mutex_lock(&changes_lock);
	change_strike(change);
	if (change->opened != -1)
		close(change->opened);
	pthread_mutex_unlock(&changes_lock);
	return result;
}

static int change_region(struct change *change, int fd)
{
	struct attachment *attached;
	struct timespec none = {0};
	sigset_t before, size_signal;
	int result, cancel;

	fork_register();
	change->user_fd = fd;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	signals_block(&before);
	change->owner.setlk = F_OFD_SETLK;
	change->owner.writable = true;
	change->owner.waiting = before;
	attached = borrow(fd, change);
	if (attached) {
		result = change_run(change);
		pthread_mutex_lock(&changes_lock);
		change_strike(change);
		pthread_mutex_unlock(&changes_lock);
		give_back(attached);
	} else {
		result = change_unattached(change, fd);
	}
	if (result == -1 && mshare_errno() == EFBIG) {
		/* The kernel has also sent the signal for it; an error is enough. */
		sigemptyset(&size_signal);
		sigaddset(&size_signal, SIGXFSZ);
		sigtimedwait(&size_signal, NULL, &none);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_setcancelstate(cancel, NULL);
	if (result == -1)
		errno = mshare_errno();
	return result;
}

static int shm_reserve(int fd, uint64_t base, uint64_t size)
{
	return change_region(&(struct change){.verb = "mshare_reserve",
					      .body = body_reserve,
					      .offset = base,
					      .length = size},
			     fd);
}

static int shm_map(int fd, uint64_t offset, uint64_t length, int prot, int flags, int backing_fd,
		   off_t backing_offset)
{
	(void)backing_fd;
	(void)backing_offset;
	return change_region(&(struct change){.verb = "mshare_map",
					      .body = body_map,
					      .offset = offset,
					      .length = length,
					      .prot = prot,
					      .flags = flags},
			     fd);
}

static int shm_unmap(int fd, uint64_t offset, uint64_t length)
{
	return change_region(&(struct change){.verb = "mshare_unmap",
					      .body = body_unmap,
					      .offset = offset,
					      .length = length},
			     fd);
}

static int shm_protect(int fd, uint64_t offset, uint64_t length, int prot)
{
	return change_region(&(struct change){.verb = "mshare_protect",
					      .body = body_protect,
					      .offset = offset,
					      .length = length,
					      .prot = prot},
			     fd);
}

static int shm_advise(int fd, uint64_t offset, uint64_t length, int advice)
{
	switch (advice) {
	case MADV_NORMAL:
	case MADV_WILLNEED:
	case MADV_DONTNEED:
	case MADV_REMOVE:
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		break;
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_MERGEABLE:
	case MADV_UNMERGEABLE:
	case MADV_COLD:
	case MADV_PAGEOUT:
		return fail(
			EOPNOTSUPP,
			"mshare_advise: advice %d is about one process's page tables, which the "
			"shm back end has no say over in others",
			advice);
	default:
		return fail(EINVAL, "mshare_advise: advice %d is unknown or not about a region",
			    advice);
	}
	return change_region(&(struct change){.verb = "mshare_advise",
					      .body = body_advise,
					      .offset = offset,
					      .length = length,
					      .flags = advice},
			     fd);
}

static int shm_window(int fd, uint64_t *base, uint64_t *size)
{
	struct header header;
	int err = header_read(fd, &header);

	*base = err ? 0 : header.base;
	*size = err ? 0 : header.window;
	return err;
}

static int shm_create(int root, mode_t mode)
{
	static const char verb[] = "mshare_create";
	int fd = memfd_create("mshare", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	(void)root;
	/* vm.memfd_noexec=2 allows no other kind, whose x bits cannot be set. */
	if (fd == -1 && errno == EACCES) {
		fd = memfd_create("mshare", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
		mode &= ~(mode_t)0111;
	}
	if (fd == -1)
		return fail(errno, "%s: cannot make a memfd", verb);
	if (fchmod(fd, mode) == -1) {
		fail(errno, "%s: cannot give the region mode %03o", verb, mode);
		close(fd);
		errno = mshare_errno();
		return -1;
	}
	return fd;
}

/* --- attachments -------------------------------------------------------------------------- */

enum report { PENDING, ATTACHED, ENDED };

struct attachment {
	struct attachment *next; /* in the registry */
	struct identity identity;
	uint64_t address, window;
	int prot; /* as asked for */
	int flags;
	int fd; /* in the program's table, for fork(): -1 with MSHARE_ATTACH_NOFORK */
	uint32_t users;
	bool started;  /* false: attach is still at work on it */
	bool foreign;  /* in a child of fork(): others were faster at the window's addresses */
	bool reserved; /* the addresses are ours already: PROT_NONE */

	/* For changes by this process; the registry's lock protects them. */
	int change_fd;    /* a description of its own, or -1 */
	pid_t change_pid; /* whose: a child of a raw clone() must not share its locks */
	bool lent;
	bool gone; /* detached while lent: give_back() frees */

	/* between attach (or fork) and the service thread, until it has reported */
	int source;
	uint64_t want; /* the address to be at; 0: the base */
	const struct adoption *adoption;
	struct error_state error;

	/* the service thread's */
	pthread_t thread;
	bool served; /* there is a thread to join */
	struct owner owner;
	uint32_t bit; /* its futex bitset */
	uint32_t slot;
	_Atomic uint32_t report;
	_Atomic uint32_t stop;

	pthread_mutex_t apply; /* protects the window, and these: */
	struct image *image;   /* the table that the window shows */
	int dead;              /* errno for which the window was given up */
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t registry_changed = PTHREAD_COND_INITIALIZER;
static struct attachment *registry;

static int service_fail(struct attachment *a, int err, const char *what)
{
	fail(err, "mshare_attach: %s", what);
	error_save(&a->error);
	return err;
}

static int prot_here(const struct attachment *a, uint32_t prot)
{
	return (int)prot & (a->prot | PROT_EXEC);
}

/* Not in children of a raw clone(), who have no service thread; nor in core dumps. */
static int window_mark(uint64_t address, uint64_t length)
{
	void *at = (void *)(uintptr_t)address;

	if (madvise(at, length, MADV_DONTFORK) == -1 || madvise(at, length, MADV_DONTDUMP) == -1)
		return errno;
	return 0;
}

static void *window_map(const struct attachment *a, uint64_t offset, uint64_t length, int prot,
			int flags)
{
	return mmap((void *)(uintptr_t)(a->address + offset), length, prot,
		    MAP_SHARED | MAP_NORESERVE | flags, a->owner.fd, (off_t)(DATA_OFFSET + offset));
}

/* Take a part of the window's addresses, or EEXIST. */
static int window_reserve(const struct attachment *a, uint64_t offset, uint64_t length)
{
	return map_exactly(a->address + offset, length, MAP_SHARED, a->owner.fd,
			   DATA_OFFSET + offset) == MAP_FAILED
		       ? errno
		       : 0;
}

/* From how many bytes on an unmap maps anew rather than protects: so that its tables go. */
#define TABLE_SPAN (UINT64_C(4) << 20)

/*
 * table_diff() calls this. The whole window is one mapping of the file, and what
 * is a hole is PROT_NONE: an access sees the old or the new state and never a
 * third, and nothing else can ever come to lie in the window.
 */
static int window_apply(void *context, uint64_t offset, uint64_t length, uint32_t prot)
{
	struct attachment *a = context;
	int err = test_point("apply-mid");

	if (err)
		return err;
	if (prot == PROT_HOLE && length >= TABLE_SPAN &&
	    window_map(a, offset, length, PROT_NONE, MAP_FIXED) != MAP_FAILED)
		return window_mark(a->address + offset, length);
	if (mprotect((void *)(uintptr_t)(a->address + offset), length,
		     prot == PROT_HOLE ? PROT_NONE : prot_here(a, prot)) == -1)
		return errno;
	return 0;
}

static void *window_close(const struct attachment *a)
{
	return mmap((void *)(uintptr_t)a->address, a->window, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

/* What was reserved for the window stays so. */
static void window_unmap(const struct attachment *a)
{
	if (!a->reserved || window_close(a) == MAP_FAILED)
		munmap((void *)(uintptr_t)a->address, a->window);
}

static int window_place_anywhere(struct attachment *a)
{
	uint64_t span = a->window + ALIGNMENT, skip;
	char *at = mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return errno;
	a->address = round_up((uint64_t)(uintptr_t)at, ALIGNMENT);
	skip = a->address - (uint64_t)(uintptr_t)at;
	if (window_map(a, 0, a->window, PROT_NONE, MAP_FIXED) == MAP_FAILED) {
		int err = errno;

		munmap(at, span);
		return err;
	}
	if (skip)
		munmap(at, skip);
	munmap(at + skip + a->window, ALIGNMENT - skip);
	return 0;
}

static int window_place(struct attachment *a, uint64_t base)
{
	int err;

	a->address = a->want ? a->want : base;
	if (a->reserved)
		err = window_map(a, 0, a->window, PROT_NONE, MAP_FIXED) == MAP_FAILED ? errno : 0;
	else
		err = window_reserve(a, 0, a->window);
	if (err == EEXIST && !a->want && a->flags & MSHARE_ATTACH_ANYWHERE)
		err = window_place_anywhere(a);
	if (!err) {
		err = window_mark(a->address, a->window);
		if (!err)
			return 0;
		window_unmap(a);
	}
	if (err == EEXIST)
		fail(EADDRINUSE,
		     "mshare_attach: something is mapped already in the window's place, 0x%llx … "
		     "0x%llx; MSHARE_ATTACH_ANYWHERE allows another",
		     (unsigned long long)a->address, (unsigned long long)(a->address + a->window));
	else
		fail(err,
		     "mshare_attach: no room for a window of 0x%llx bytes at 0x%llx (RLIMIT_AS, "
		     "vm.max_map_count and the size of the address space limit it)",
		     (unsigned long long)a->window, (unsigned long long)a->address);
	error_save(&a->error);
	return mshare_errno();
}

/* For adoption_undo(): what is in the file now. */
static void segment_fetch(void *context, const struct entry *segment, void *to)
{
	const struct attachment *a = context;

	read_all(a->owner.fd, to, segment->length, DATA_OFFSET + segment->offset);
}

/*
 * Put the window in the place of what the caller has there. Its holes are
 * reserved: each mapping takes the place of one.
 */
static int window_adopt(struct attachment *a)
{
	const struct table *table = &a->adoption->table;
	uint64_t hole = 0, length;
	uint32_t done = 0;
	int err = 0;

	a->address = a->adoption->base;
	for (; !err && table_next_hole(table, &hole, &length, a->window); hole += length)
		if (window_map(a, hole, length, PROT_NONE, MAP_FIXED) == MAP_FAILED)
			err = errno;
	while (!err && done < table->count) {
		const struct entry *entry = &table->entries[done];

		err = test_point("adopt-mid");
		if (!err && window_map(a, entry->offset, entry->length, prot_here(a, entry->prot),
				       MAP_FIXED) == MAP_FAILED)
			err = errno;
		if (!err)
			done++;
	}
	if (!err)
		err = window_mark(a->address, a->window);
	if (!err)
		return 0;
	adoption_undo(a->adoption, done, segment_fetch, a);
	return service_fail(a, err, "the window cannot take the place of the memory that is there");
}

/* By another attachment, that is; a modifier that has just drained a row holds it, too. */
static bool slot_taken(const struct attachment *a, uint64_t generation)
{
	struct flock found;

	return lock_test(a->owner.fd, F_GETLK, ROW(generation) + a->slot, 1, &found) == 1 &&
	       found.l_type == F_RDLCK;
}

/* A byte of this generation's row that nobody else has. M is held for reading. */
static int slot_take(struct attachment *a)
{
	uint64_t generation = a->image->generation;
	int err;

	/* A reader who has locked all slots must not keep us here. */
	do {
		if (getrandom(&a->slot, sizeof(a->slot), 0) != sizeof(a->slot))
			return errno;
		a->slot %= SLOTS;
		/* The row before may have attachments still, which will come to this one. */
		if (slot_taken(a, generation) || (generation && slot_taken(a, generation - 1)))
			continue;
		err = lock_set(&a->owner, F_RDLCK, ROW(generation) + a->slot, 1);
		/* Another joiner may have had the same luck: then both of us look on. */
		if (err || !slot_taken(a, generation))
			return err;
		lock_release(&a->owner, ROW(generation) + a->slot, 1);
	} while (now_ns() < a->owner.deadline);
	return EBUSY;
}

/* Under M: build the window as the table has it, and take a row byte. */
static int join_locked(struct attachment *a)
{
	struct table from = {0}, to;
	struct header header;
	int err;

	err = header_read(a->owner.fd, &header);
	if (!err)
		err = image_current(a->owner.fd, header.window, &a->image);
	if (err) {
		fail_header(err, a->source, "mshare_attach");
		error_save(&a->error);
		return err;
	}
	a->window = header.window;
	err = test_point("join-locked");
	if (err)
		return service_fail(a, err, "test point");
	err = a->adoption ? window_adopt(a) : window_place(a, header.base);
	if (err)
		return err;
	if (a->adoption)
		from = a->adoption->table;
	to = table_of(a->image);
	err = table_diff(&from, &to, window_apply, a);
	if (!err)
		err = test_point("join-view");
	if (err)
		service_fail(
			a, err,
			err == EACCES
				? "something in the region is executable, and its file system is "
				  "mounted noexec here"
				: "the region's mappings cannot be made here (vm.max_map_count "
				  "limits how many a process can have)");
	if (!err) {
		err = slot_take(a);
		if (!err)
			err = test_point("join-row");
		if (err)
			service_fail(a, err, "cannot lock a byte of the region's generation");
	}
	if (err && a->adoption)
		adoption_undo(a->adoption, from.count, segment_fetch, a);
	else if (err)
		window_unmap(a);
	return err;
}

static int join(struct attachment *a)
{
	int err;

	err = table_unshare(a->source);
	if (err) {
		a->source = -1; /* the program's, then */
		return service_fail(a, err, "cannot unshare a thread's descriptor table");
	}
	prctl(PR_SET_NAME, "mshare");
	if (!a->owner.words) {
		a->owner.words = words_map(a->owner.fd, a->owner.writable);
		if (!a->owner.words)
			return service_fail(a, errno, "cannot map the region's control area");
	}
	err = lock_wait(&a->owner, F_RDLCK, LOCK_MODIFIER, 1, MODIFIER);
	if (err == ETIMEDOUT)
		return service_fail(a, EBUSY,
				    "others kept changing the region for too long "
				    "(mshare_set_timeout() sets the limit)");
	if (err)
		return service_fail(a, err, "cannot take the region's modifier lock");
	/* fork() waits: a child must not come by a window that is not marked yet. */
	pthread_mutex_lock(&a->apply);
	err = join_locked(a);
	pthread_mutex_unlock(&a->apply);
	lock_release(&a->owner, LOCK_MODIFIER, 1);
	word_bump(&a->owner, MODIFIER, 1);
	return err;
}

/*
 * The window cannot show the region as it is: then it shows nothing, and no
 * change waits for it. Never stale; so until one of these has worked, the row
 * byte stays locked.
 */
static void give_up(struct attachment *a, int err)
{
	void *at = (void *)(uintptr_t)a->address;

	while (window_close(a) == MAP_FAILED && mprotect(at, a->window, PROT_NONE) == -1 &&
	       munmap(at, a->window) == -1)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	madvise(at, a->window, MADV_DONTFORK);
	a->dead = err;
	lock_release(&a->owner, 0, 0);
	word_bump(&a->owner, DRAIN, INT_MAX);
}

/* Carry the window over to the generation that holds. 0, or why it cannot be. */
static int follow(struct attachment *a)
{
	const struct owner *owner = &a->owner;
	struct image *next;
	struct table from, to;
	struct flock found;
	uint64_t old_row, new_row;
	uint32_t generation;
	int err;

	err = read_word(owner->fd, GENERATION, &generation);
	if (err)
		return EUCLEAN;
	if (generation == (uint32_t)a->image->generation)
		return 0;
	err = image_read(owner->fd, generation, a->window, &next);
	if (err)
		return err;
	/* At most one behind; anything else is not our protocol's doing. */
	if (next->generation != a->image->generation + 1) {
		free(next);
		return EUCLEAN;
	}
	err = test_point("apply-before");
	from = table_of(a->image);
	to = table_of(next);
	if (!err)
		err = table_diff(&from, &to, window_apply, a);
	if (!err && next->populate_length) {
		void *at = (void *)(uintptr_t)(a->address + next->populate_offset);

		/* Read-only memory, or a read-only view of it, refuses the first. */
		if (madvise(at, next->populate_length, MADV_POPULATE_WRITE) == -1)
			madvise(at, next->populate_length, MADV_POPULATE_READ);
	}
	if (!err)
		err = test_point("apply-after");
	old_row = ROW(a->image->generation);
	new_row = ROW(next->generation);
	if (!err)
		err = lock_set(owner, F_RDLCK, new_row + a->slot, 1);
	if (!err)
		err = test_point("row-locked");
	if (err) {
		free(next);
		return err;
	}
	lock_release(owner, old_row + a->slot, 1);
	free(a->image);
	a->image = next;
	/* The last one out wakes the modifier; for one that died instead it looks by itself. */
	if (lock_test(owner->fd, F_GETLK, ROW(0), new_row - ROW(0), &found) == 0)
		word_bump(owner, DRAIN, INT_MAX);
	return test_point("row-unlocked");
}

static void service_sleep(struct attachment *a, uint32_t generation)
{
	struct timespec until;

	/*
	 * Publishing wakes every bit; detach ours (and 1 in 32 of the others'). Once a
	 * second we look without being woken: whoever may read the region can requeue
	 * those who wait on its words to a word of his own. EFAULT: the file was cut
	 * short, which follow() will find.
	 */
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec++;
	futex(&a->owner.words[GENERATION], FUTEX_WAIT_BITSET, generation, &until, NULL, a->bit);
}

static void *serve(void *arg)
{
	struct attachment *a = arg;
	uint32_t generation = 0;
	bool stop, dead;
	int err = join(a);

	/* By hand: the kernel releases them some time after the thread can be joined. */
	if (err && a->source != -1) {
		lock_release(&a->owner, 0, 0);
		close(a->source);
	}
	atomic_store(&a->report, err ? ENDED : ATTACHED);
	futex((uint32_t *)&a->report, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	if (err)
		return NULL;
	for (;;) {
		pthread_mutex_lock(&a->apply);
		stop = atomic_load(&a->stop);
		if (!stop && !a->dead) {
			err = follow(a);
			if (err)
				give_up(a, err);
		}
		dead = a->dead;
		if (!dead)
			generation = (uint32_t)a->image->generation;
		pthread_mutex_unlock(&a->apply);
		if (stop)
			break;
		if (dead)
			futex((uint32_t *)&a->stop, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
		else
			service_sleep(a, generation);
	}
	/* By hand, that a change under way hears of it: */
	lock_release(&a->owner, 0, 0);
	word_bump(&a->owner, DRAIN, INT_MAX);
	close(a->source);
	atomic_store(&a->report, ENDED);
	futex((uint32_t *)&a->report, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	return NULL;
}

/* Start the service thread, on `source`, and wait until it has joined. 0 or an errno. */
static int service_start(struct attachment *a, int source)
{
	sigset_t before;
	int err;

	signals_block(&before);
	a->source = source;
	a->owner.fd = source;
	a->owner.setlk = F_SETLK;
	a->owner.deadline = deadline_from_now();
	sigfillset(&a->owner.waiting);
	a->bit = 1u << (a->identity.inode + (uintptr_t)a / 64) % 32;
	atomic_store(&a->report, PENDING);
	atomic_store(&a->stop, 0);
	err = thread_start(&a->thread, serve, a);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		service_fail(a, err, "cannot start a service thread");
	} else {
		while (atomic_load(&a->report) == PENDING)
			futex((uint32_t *)&a->report, FUTEX_WAIT_PRIVATE, PENDING, NULL, NULL, 0);
		err = atomic_load(&a->report) == ENDED ? a->error.err : 0;
		if (err)
			pthread_join(a->thread, NULL);
	}
	a->served = !err;
	return err;
}

static void attachment_free(struct attachment *a)
{
	if (a->lent) {
		a->gone = true;
		return;
	}
	words_unmap(a->owner.words);
	close_if_still_of(a->change_fd, &a->identity);
	close_if_still_of(a->fd, &a->identity);
	free(a->image);
	pthread_mutex_destroy(&a->apply);
	free(a);
}

static struct attachment *borrow(int fd, struct change *change)
{
	struct identity identity;
	struct attachment *a;

	pthread_mutex_lock(&registry_lock);
	a = registry && identity_of(fd, &identity) ? registry : NULL;
	while (a && !(a->started && a->served && a->owner.writable && !a->lent &&
		      identity_equal(&a->identity, &identity)))
		a = a->next;
	if (a && !still_of(a->change_fd, &identity)) {
		a->change_fd = description_new(fd);
		a->change_pid = getpid();
	}
	if (a && (a->change_fd == -1 || a->change_pid != getpid()))
		a = NULL;
	if (a) {
		a->lent = true;
		change->owner.fd = a->change_fd;
		change->owner.words = a->owner.words;
		pthread_mutex_lock(&changes_lock);
		change_enlist(change, a->change_fd);
		pthread_mutex_unlock(&changes_lock);
	}
	pthread_mutex_unlock(&registry_lock);
	return a;
}

static void give_back(struct attachment *a)
{
	pthread_mutex_lock(&registry_lock);
	a->lent = false;
	if (a->gone)
		attachment_free(a);
	pthread_mutex_unlock(&registry_lock);
}

static struct attachment **registry_find(const struct attachment *wanted)
{
	struct attachment **link = &registry;

	while (*link && *link != wanted)
		link = &(*link)->next;
	return link;
}

static int dead_errno(struct attachment *a)
{
	int err;

	pthread_mutex_lock(&a->apply);
	err = a->dead;
	pthread_mutex_unlock(&a->apply);
	return err;
}

/*
 * An attachment that will do for another user; the registry is locked. One that
 * somebody is at work on may become it.
 */
static struct attachment *reusable(const struct identity *identity, uint64_t address, int prot,
				   int flags)
{
	struct attachment *a;

again:
	for (a = registry; a; a = a->next) {
		if (!identity_equal(&a->identity, identity))
			continue;
		if (!a->started) {
			pthread_cond_wait(&registry_changed, &registry_lock);
			goto again;
		}
		if ((a->address == address || flags & MSHARE_ATTACH_ANYWHERE) && a->prot == prot &&
		    !((a->flags ^ flags) & MSHARE_ATTACH_NOFORK) && !dead_errno(a))
			return a;
	}
	return NULL;
}

static void *attach(int fd, void *addr, int prot, int flags, const struct adoption *adoption)
{
	static const char verb[] = "mshare_attach";
	struct attachment *a, *found = NULL;
	struct header header;
	int err;

	fork_register();
	err = header_read(fd, &header);
	if (err) {
		fail_header(err, fd, verb);
		return MAP_FAILED;
	}
	a = calloc(1, sizeof(*a));
	if (!a) {
		fail(ENOMEM, "%s: no memory", verb);
		return MAP_FAILED;
	}
	pthread_mutex_init(&a->apply, NULL);
	a->prot = prot;
	a->flags = flags;
	a->users = 1;
	a->want = (uint64_t)(uintptr_t)addr;
	a->adoption = adoption;
	a->owner.writable = (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR;
	a->fd = a->change_fd = -1;
	if (!identity_of(fd, &a->identity) ||
	    (!(flags & MSHARE_ATTACH_NOFORK) && (a->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)) == -1)) {
		fail(errno, "%s: cannot duplicate descriptor %d (RLIMIT_NOFILE limits them)", verb,
		     fd);
		attachment_free(a);
		return MAP_FAILED;
	}

	pthread_mutex_lock(&registry_lock);
	if (flags & MSHARE_ATTACH_REUSE)
		found = reusable(&a->identity, addr ? (uint64_t)(uintptr_t)addr : header.base, prot,
				 flags);
	if (found) {
		found->users++;
	} else {
		a->next = registry;
		registry = a;
	}
	pthread_mutex_unlock(&registry_lock);
	if (found) {
		void *address = (void *)(uintptr_t)found->address;

		attachment_free(a);
		return address;
	}

	err = service_start(a, fd);
	a->adoption = NULL;
	pthread_mutex_lock(&registry_lock);
	a->started = true;
	if (err)
		*registry_find(a) = a->next;
	pthread_cond_broadcast(&registry_changed);
	pthread_mutex_unlock(&registry_lock);
	if (err) {
		struct error_state error = a->error;

		attachment_free(a);
		error_raise(&error);
		return MAP_FAILED;
	}
	return (void *)(uintptr_t)a->address;
}

static void *shm_attach(int fd, void *addr, int prot, int flags)
{
	void *at;
	int cancel;

	/* pthread_join() and more would let a cancelled thread go, locks held. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	at = attach(fd, addr, prot, flags, NULL);
	pthread_setcancelstate(cancel, NULL);
	return at;
}

static int detach(void *addr)
{
	struct attachment *a, **link;

	pthread_mutex_lock(&registry_lock);
	for (link = &registry; (a = *link); link = &a->next)
		if (a->started && a->address == (uint64_t)(uintptr_t)addr)
			break;
	if (!a || --a->users > 0) {
		pthread_mutex_unlock(&registry_lock);
		return !a;
	}
	*link = a->next;
	pthread_mutex_lock(&a->apply);
	atomic_store(&a->stop, 1);
	if (!a->foreign)
		window_unmap(a);
	close_if_still_of(a->fd, &a->identity);
	a->fd = -1;
	pthread_mutex_unlock(&a->apply);
	pthread_mutex_unlock(&registry_lock);

	while (a->served && atomic_load(&a->report) == ATTACHED) {
		struct timespec pause = {.tv_nsec = 1000000};

		futex((uint32_t *)&a->stop, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		futex(&a->owner.words[GENERATION], FUTEX_WAKE_BITSET, INT_MAX, NULL, NULL, a->bit);
		/* It may not be asleep yet, and the wake lost; or not to be woken at all. */
		futex((uint32_t *)&a->report, FUTEX_WAIT_PRIVATE, ATTACHED, &pause, NULL, 0);
	}
	if (a->served)
		pthread_join(a->thread, NULL);
	pthread_mutex_lock(&registry_lock);
	attachment_free(a);
	pthread_mutex_unlock(&registry_lock);
	return 0;
}

static int shm_detach(void *addr)
{
	int result, cancel;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	result = detach(addr);
	pthread_setcancelstate(cancel, NULL);
	return result;
}

/* --- fork --------------------------------------------------------------------------------- */

static void fork_prepare(void)
{
	pthread_mutex_lock(&registry_lock);
	for (struct attachment *a = registry; a; a = a->next)
		pthread_mutex_lock(&a->apply);
	pthread_mutex_lock(&changes_lock);
}

static void fork_done(void)
{
	pthread_mutex_unlock(&changes_lock);
	for (struct attachment *a = registry; a; a = a->next)
		pthread_mutex_unlock(&a->apply);
	pthread_mutex_unlock(&registry_lock);
}

/* The child's own view, thread and lock, or else an inaccessible window. */
static void rejoin(struct attachment *a)
{
	int err;

	a->want = a->address;
	a->dead = 0;
	free(a->image);
	a->image = NULL;
	if (a->foreign) {
		err = EADDRINUSE;
	} else if (still_of(a->fd, &a->identity)) {
		err = service_start(a, a->fd);
	} else {
		a->fd = -1;
		err = EBADF;
	}
	a->reserved = false;
	if (!err)
		return;
	a->address = a->want;
	a->dead = err;
}

static void fork_child(void)
{
	struct attachment **link = &registry, *a;

	/* The parent's locks first: with these descriptors we would hold on to them. */
	for (struct change *change = changes; change; change = change->next)
		if (change->opened != -1)
			close(change->opened);
	changes = NULL;
	fork_done();
	pthread_cond_init(&registry_changed, NULL);
	/*
	 * The child has this one thread: nobody else is at the list. Its addresses, too,
	 * before anything is started that could come to lie there.
	 */
	while ((a = *link)) {
		close_if_still_of(a->change_fd, &a->identity);
		a->change_fd = -1;
		a->lent = a->served = false;
		if (!a->started || a->flags & MSHARE_ATTACH_NOFORK) {
			*link = a->next;
			attachment_free(a);
			continue;
		}
		a->reserved = !a->foreign &&
			      map_exactly(a->address, a->window, MAP_PRIVATE | MAP_ANONYMOUS, -1,
					  0) != MAP_FAILED;
		a->foreign = !a->reserved;
		link = &a->next;
	}
	for (a = registry; a; a = a->next)
		rejoin(a);
}

static void fork_register_once(void)
{
	pthread_atfork(fork_prepare, fork_done, fork_child);
}

static void fork_register(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, fork_register_once);
}

/* --- asking ------------------------------------------------------------------------------- */

static int shm_mappings(int fd, struct mshare_mapping **out, uint32_t *count)
{
	static const char verb[] = "mshare_mappings";
	struct image *image = NULL;
	struct header header;
	int err;

	err = header_read(fd, &header);
	if (err && err != ENODATA)
		return fail_header(err, fd, verb);
	if (!err)
		err = image_current(fd, header.window, &image);
	if (err && err != ENODATA)
		return fail_header(err, fd, verb);
	*count = image ? image->count : 0;
	*out = calloc(*count + 1, sizeof(**out));
	if (!*out) {
		free(image);
		return fail(ENOMEM, "%s: no memory", verb);
	}
	for (uint32_t i = 0; i < *count; i++)
		(*out)[i] = (struct mshare_mapping){image->entries[i].offset,
						    image->entries[i].length,
						    image->entries[i].prot,
						    image->entries[i].flags};
	free(image);
	return 0;
}

static int shm_info(int fd, struct mshare_info *info)
{
	static const char verb[] = "mshare_info";
	struct image *image = NULL;
	struct identity identity;
	struct header header;
	struct state state = {0};
	struct table table;
	int err;

	err = header_read(fd, &header);
	if (err == ENODATA)
		return 0;
	if (!err)
		err = image_current(fd, header.window, &image);
	if (err)
		return fail_header(err, fd, verb);
	table = table_of(image);
	info->window = header.window;
	info->base = header.base;
	info->generation = image->generation;
	info->mappings = image->count;
	info->mapped = table_mapped(&table);
	info->stragglers = stragglers_count(fd, image->generation, NULL);
	/* One who is between two rows is in both for a moment, and counted as behind. */
	info->attachments = info->stragglers +
			    lock_count(fd, ROW(image->generation), SLOTS, COUNT_DEPTH, NULL);
	free(image);

	if (read_all(fd, &state, sizeof(state), STATE_OFFSET) == 0)
		info->resident = resident_bytes(fd, &state);
	if (!identity_of(fd, &identity))
		return fail(errno, "%s: cannot stat descriptor %d", verb, fd);
	pthread_mutex_lock(&registry_lock);
	for (struct attachment *a = registry; a; a = a->next) {
		int dead = a->started && identity_equal(&a->identity, &identity) ? dead_errno(a)
										 : 0;

		if (dead)
			info->attachment_errno = dead;
	}
	pthread_mutex_unlock(&registry_lock);
	return 0;
}

/* --- mshare() ----------------------------------------------------------------------------- */

/* For source_copy(). */
static int pages_write(void *context, int memory, uint64_t address, uint64_t offset,
		       uint64_t length)
{
	const struct change *change = context;
	char buffer[16384];
	int err = 0;

	for (uint64_t done = 0; !err && done < length; done += sizeof(buffer)) {
		size_t n = length - done < sizeof(buffer) ? length - done : sizeof(buffer);

		/* /proc/self/mem reads PROT_NONE memory, too. */
		err = read_all(memory, buffer, n, address + done);
		if (!err)
			err = write_all(change->owner.fd, buffer, n, DATA_OFFSET + offset + done);
	}
	return err;
}

/*
 * All segments in one change. Nobody else knows the file yet, and it goes with its
 * descriptor: there is nothing to undo.
 */
static int adopt_segments(struct change *change, const struct source *source)
{
	const struct table *table = &change->adoption->table;
	struct image *next;
	uint64_t bytes = 0;
	int err;

	if (recover(change) == -1)
		return -1;
	if (table->count > TABLE_MAX)
		return fail_edit(change, E2BIG);
	next = image_new(table->count);
	if (!next)
		return fail(ENOMEM, "%s: no memory", change->verb);
	next->count = table->count;
	/* Of no mappings there is no array, and memcpy() wants one even so. */
	if (table->count)
		memcpy(next->entries, table->entries, table->count * sizeof(*table->entries));
	for (uint32_t i = 0; i < table->count; i++) {
		change->prot |= (int)table->entries[i].prot;
		if (!(table->entries[i].flags & MSHARE_MAP_NORESERVE))
			bytes += table->entries[i].length;
	}
	err = table_room(change, next->count);
	if (err) {
		free(next);
		return fail_change(change, err);
	}
	if (exec_check(change->owner.fd, change->prot, change->verb) == -1 ||
	    memory_check(change->owner.fd, bytes, change->verb) == -1) {
		free(next);
		return -1;
	}
	for (uint32_t i = 0; i < next->count && !err; i++) {
		const struct entry *entry = &next->entries[i];

		change->offset = entry->offset;
		change->length = entry->length;
		if (!(entry->flags & MSHARE_MAP_NORESERVE))
			err = allocate(change);
		if (!err)
			err = test_point("map-allocated");
		if (!err)
			err = source_copy(source, change->adoption, entry, pages_write, change);
	}
	if (!err)
		return commit(change, next);
	free(next);
	if (err == ENOSPC || err == ENOMEM)
		return memory_fail(change->owner.fd, err, bytes, change->verb);
	return fail(err, "%s: cannot copy the memory that is there into the region", change->verb);
}

static int body_adopt(struct change *change)
{
	struct source source;
	int result;

	if (source_open(&source, change->verb) == -1)
		return -1;
	result = adopt_segments(change, &source);
	source_close(&source);
	return result;
}

static int shm_fill(int fd, const struct adoption *adoption)
{
	return change_region(&(struct change){.verb = "mshare",
					      .body = body_adopt,
					      .adoption = adoption},
			     fd);
}

static int shm_replace(int fd, const struct adoption *adoption)
{
	return attach(fd, NULL, PROT_READ | PROT_WRITE, 0, adoption) == MAP_FAILED ? -1 : 0;
}

const struct backend backend_shm = {
	.id = MSHARE_BACKEND_SHM,
	.capabilities = 0,
	.mappings_limit = TABLE_MAX,
	.create = shm_create,
	.window = shm_window,
	.reserve = shm_reserve,
	.map = shm_map,
	.unmap = shm_unmap,
	.protect = shm_protect,
	.advise = shm_advise,
	.attach = shm_attach,
	.detach = shm_detach,
	.info = shm_info,
	.mappings = shm_mappings,
	.fill = shm_fill,
	.replace = shm_replace,
};
