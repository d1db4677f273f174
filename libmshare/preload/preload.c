// SPDX-License-Identifier: MIT
/*
 * libmshare-preload.so: shared page tables for programs that know nothing of
 * them. libmshare-preload(7) says what for and how to use it.
 *
 * HOW. A program asks for large memory that its children are to share: mmap() of
 * MAP_SHARED | MAP_ANONYMOUS, or shmat() of an IPC_PRIVATE segment. The call is
 * made as it stands. Its result is the *shadow*: what the kernel says to the call,
 * it has said, and the memory is what it would have been. Then a region is made
 * that has that very memory mapped (MSHAREFS_MAP_MAPPED), without a name, and the
 * program is given an attachment of it instead of the shadow, which nobody
 * touches and which therefore costs no page tables. Children inherit both.
 *
 * A call that the shadow can answer as the original would is made on the shadow:
 * madvise(), msync(), mincore(), shmdt(). A call that would change one process'
 * view alone (mprotect(), a partial munmap(), mremap(), mlock() ...) cannot be had
 * from page tables that others use. Before it, the attachment is *given up*: one
 * mremap() puts a second mapping of the shadow's memory in its place, without a
 * moment in which there is nothing. What is there then is what would have been
 * there from the beginning, and the call is libc's. Other processes keep theirs.
 * So nothing that this file does not know can come out differently; it can only
 * cost more. Whatever fails on the way to an attachment leaves the shadow, which
 * is the result.
 *
 * The kernel's ABI is used as it is and not through libmshare, whose calls
 * allocate memory: these may be made from inside an allocator.
 *
 * STATE. A table of fixed size. Calls that have nothing to do with it look at it
 * and take no lock: a slot is filled in and then published by its address, and
 * emptied in the reverse order. All else is under one lock, with signals blocked,
 * for handlers may call munmap(), too. The lock is in memory that a child finds
 * zeroed, and so is free there even if the child was made by a raw clone().
 * fork() takes it besides, so that a child has the mappings its table says.
 */
#include "../src/internal.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/mempolicy.h>
#include <linux/msharefs.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))
#ifdef OLD_SYMBOL
OLD_SYMBOL(dlsym);
#endif

/* For libcs older than the kernel calls. */
#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef SYS_mseal
#define SYS_mseal 462
#endif

#define RW (PROT_READ | PROT_WRITE)
#define SLOTS 64
#define THRESHOLD (UINT64_C(16) << 20)

struct slot {
	_Atomic(uintptr_t) at; /* the attachment; 0: the slot is empty */
	size_t window;         /* bytes, of the attachment */
	size_t length;         /* bytes that the program has, whole pages */
	uintptr_t shadow;
	bool sysv; /* the shadow is shmat()'s */
};

static struct slot slots[SLOTS];
/* No slot from here on has ever been used. */
static _Atomic(unsigned int) slots_used;

static uint64_t threshold = THRESHOLD;
static size_t page;
/* Copies: programs that change their titles write over their environment. */
static char log_path[PATH_MAX];
static char root[PATH_MAX] = "/sys/fs/mshare";
static _Atomic(bool) ready;        /* there is something to be had here */
static _Atomic(bool) locks_future; /* mlockall(MCL_FUTURE) is in force */

/* --- libc's ------------------------------------------------------------------------------- */

/* clang-format off */
#define CALLS(X) \
	X(madvise) X(mincore) X(mlock) X(mlock2) X(mlockall) X(mmap) X(mprotect) X(mremap) \
	X(msync) X(munlock) X(munlockall) X(munmap) X(pkey_mprotect) X(posix_madvise) \
	X(prlimit) X(remap_file_pages) X(setrlimit) X(shmat) X(shmdt)
/* clang-format on */
#define POINTER(name) __typeof__(&name) name;
static struct {
	CALLS(POINTER)
} real;

/*
 * Not variadic as <unistd.h> has it: what takes any arguments takes seven, and
 * hands them on where they are.
 */
API long any_syscall(long number, long a, long b, long c, long d, long e,
		     long f) __asm__("syscall");
API long any_prctl(long option, long a, long b, long c, long d) __asm__("prctl");

static __typeof__(&any_syscall) real_syscall;

/*
 * At the start: dlsym() takes the loader's lock, and its holder may want ours. What
 * is called still earlier takes none of ours.
 */
static void look_up(void)
{
#define LOOK_UP(name) real.name = (__typeof__(&name))dlsym(RTLD_NEXT, #name);
	CALLS(LOOK_UP)
	real_syscall = (__typeof__(&any_syscall))dlsym(RTLD_NEXT, "syscall");
}

#define REAL(name)                                                                                 \
	({                                                                                         \
		if (!real.name)                                                                    \
			look_up();                                                                 \
		real.name;                                                                         \
	})

/*
 * The kernel's own, for what is nobody else's business: no cancellation point. -1
 * and errno as syscall(2).
 */
static long kernel(long number, long a, long b, long c, long d, long e, long f)
{
	if (!real_syscall)
		look_up();
	return real_syscall(number, a, b, c, d, e, f);
}

static int open_quietly(const char *path, int flags)
{
	return (int)kernel(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, 0600, 0, 0);
}

static void close_quietly(int fd)
{
	kernel(SYS_close, fd, 0, 0, 0, 0, 0);
}

/* --- saying what happens ------------------------------------------------------------------ */

static __attribute__((format(printf, 1, 2))) void say(const char *format, ...)
{
	int err = errno, fd, n;
	char line[256];
	va_list args;
	bool own;

	if (!*log_path)
		return;
	n = snprintf(line, sizeof(line) - 1, "mshare-preload: %d: ", (int)getpid());
	va_start(args, format);
	n += vsnprintf(line + n, sizeof(line) - 1 - (size_t)n, format, args);
	va_end(args);
	if ((size_t)n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	own = strcmp(log_path, "-") != 0;
	fd = own ? open_quietly(log_path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK)
		 : STDERR_FILENO;
	if (fd != -1)
		kernel(SYS_write, fd, (long)line, n, 0, 0, 0);
	if (own && fd != -1)
		close_quietly(fd);
	errno = err;
}

/* --- the lock ----------------------------------------------------------------------------- */

/* 0: free, 1: held, 2: held and waited for. Alone in its page (start()). */
static _Atomic(uint32_t) *lock_word;

struct before {
	sigset_t signals;
	int cancel;
};

/* Neither a handler nor the end of the thread comes while it is held. */
static void lock(struct before *before)
{
	uint32_t found = 0;
	int err = errno;
	sigset_t all;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before->cancel);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before->signals);
	if (!atomic_compare_exchange_strong(lock_word, &found, 1))
		while (atomic_exchange(lock_word, 2))
			kernel(SYS_futex, (long)lock_word, FUTEX_WAIT_PRIVATE, 2, 0, 0, 0);
	errno = err;
}

static void unlock(const struct before *before)
{
	int err = errno;

	if (atomic_exchange(lock_word, 0) == 2)
		kernel(SYS_futex, (long)lock_word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
	sigprocmask(SIG_SETMASK, &before->signals, NULL);
	pthread_setcancelstate(before->cancel, NULL);
	errno = err;
}

/* fork() happens with it held. */
static struct before fork_before;

static void fork_prepare(void)
{
	struct before before;

	lock(&before);
	fork_before = before;
}

static void fork_done(void)
{
	struct before before = fork_before;

	unlock(&before);
}

/* --- the table ---------------------------------------------------------------------------- */

static bool overlap(uintptr_t a, size_t a_length, uintptr_t b, size_t b_length)
{
	return a < b + b_length && b < a + a_length;
}

/* The length in whole pages; what wraps around is for the kernel to refuse. */
static size_t whole(size_t length)
{
	return length > SIZE_MAX - page ? SIZE_MAX & ~(page - 1)
					: (length + page - 1) & ~(page - 1);
}

/*
 * The first slot from *i on that has something in the range, its shadow included;
 * *i is the one after it. Right without the lock, too, for a range that the
 * caller knows to be its own.
 */
static struct slot *next_slot(unsigned int *i, const void *addr, size_t length)
{
	uintptr_t from = (uintptr_t)addr;

	if (length > SIZE_MAX - from)
		length = SIZE_MAX - from;
	while (*i < atomic_load_explicit(&slots_used, memory_order_acquire)) {
		struct slot *slot = &slots[(*i)++];
		uintptr_t at = atomic_load_explicit(&slot->at, memory_order_acquire);

		if (at && (overlap(from, length, at, slot->window) ||
			   overlap(from, length, slot->shadow, slot->length)))
			return slot;
	}
	return NULL;
}

static struct slot *any_slot(const void *addr, size_t length)
{
	unsigned int i = 0;

	return next_slot(&i, addr, length);
}

/* What libc would call the range, if all of it is in what the program has of the slot. */
static void *in_shadow(const struct slot *slot, const void *addr, size_t length)
{
	uintptr_t offset = (uintptr_t)addr - slot->at;

	if ((uintptr_t)addr < slot->at || offset >= slot->length || length > slot->length - offset)
		return NULL;
	return (void *)(slot->shadow + offset);
}

static void forget(struct slot *slot)
{
	atomic_store_explicit(&slot->at, 0, memory_order_release);
}

static int drop_shadow(const struct slot *slot)
{
	if (slot->sysv)
		return (int)kernel(SYS_shmdt, (long)slot->shadow, 0, 0, 0, 0, 0);
	return (int)kernel(SYS_munmap, (long)slot->shadow, (long)slot->length, 0, 0, 0, 0);
}

/*
 * Put the memory itself in place of the attachment, at once. Between unmapping and
 * mapping the kernel asks whether addresses are left, which RLIMIT_AS may have been
 * set to deny since (by another process: limit_makes_way()). If it should have no
 * memory for a VMA then, the program's memory is gone, and it must not go on as if
 * it were not.
 */
static bool give_up(struct slot *slot, const char *why)
{
	uintptr_t at = slot->at;
	struct rlimit limit, most;
	bool limited;
	long to;
	int err;

	limited = kernel(SYS_prlimit64, 0, RLIMIT_AS, 0, (long)&limit, 0, 0) == 0 &&
		  limit.rlim_cur != limit.rlim_max;
	if (limited) {
		most = (struct rlimit){limit.rlim_max, limit.rlim_max};
		kernel(SYS_prlimit64, 0, RLIMIT_AS, (long)&most, 0, 0, 0);
	}
	to = kernel(SYS_mremap, (long)slot->shadow, 0, (long)slot->window,
		    MREMAP_MAYMOVE | MREMAP_FIXED, (long)at, 0);
	err = errno;
	if (limited)
		kernel(SYS_prlimit64, 0, RLIMIT_AS, (long)&limit, 0, 0, 0);
	if (to != (long)at) {
		unsigned char in_core;

		say("%s: cannot give up the shared page tables at %#lx: error %d", why,
		    (unsigned long)at, err);
		if (kernel(SYS_mincore, (long)at, (long)page, (long)&in_core, 0, 0, 0) == -1 &&
		    errno == ENOMEM)
			abort();
		/* Sealed, or there is no room for one more mapping. */
		errno = err == EPERM ? EPERM : ENOMEM;
		return false;
	}
	forget(slot);
	if (slot->window > slot->length)
		kernel(SYS_munmap, (long)(at + slot->length), (long)(slot->window - slot->length),
		       0, 0, 0, 0);
	drop_shadow(slot);
	say("%s: %zu bytes at %#lx have page tables of their own now", why, slot->length,
	    (unsigned long)at);
	return true;
}

/* All that is in the range; the lock is held. */
static bool give_up_range(const void *addr, size_t length, const char *why)
{
	struct slot *slot;
	unsigned int i = 0;

	while ((slot = next_slot(&i, addr, length)))
		if (!give_up(slot, why))
			return false;
	return true;
}

/* Before a call that is libc's alone. False: there is no memory for it, and errno says so. */
static bool make_way(const void *addr, size_t length, const char *why)
{
	struct before before;
	bool done;

	if (!any_slot(addr, length))
		return true;
	lock(&before);
	done = give_up_range(addr, length, why);
	unlock(&before);
	return done;
}

/* --- adopting ----------------------------------------------------------------------------- */

/* A descriptor of a new region on the mount that is there now, or -1. */
static int region_new(void)
{
	struct statfs fs;
	int fd = open_quietly(root, O_TMPFILE | O_RDWR);

	if (fd != -1 && (fstatfs(fd, &fs) == -1 || fs.f_type != MSHAREFS_SUPER_MAGIC)) {
		close_quietly(fd);
		errno = ENODEV;
		return -1;
	}
	return fd;
}

/* Whatever fails here, the program has the shadow. NULL and errno, and in *step what it was. */
static void *attach(uintptr_t shadow, size_t length, size_t window, int populate, const char **step)
{
	struct mshare_map_mapped mapped = {
		.size = length,
		.addr = shadow,
		.prot = RW,
		.flags = MAP_SHARED | MAP_FIXED | (uint32_t)populate,
	};
	struct mshare_reserve reserve = {.size = window};
	void *at = MAP_FAILED;
	int fd, err;

	*step = "a region";
	fd = region_new();
	if (fd == -1)
		return NULL;
	*step = "its window";
	/* Not ftruncate(), for which RLIMIT_FSIZE would be. */
	if (ioctl(fd, MSHAREFS_RESERVE, &reserve) == -1)
		goto out;
	*step = "its memory";
	if (ioctl(fd, MSHAREFS_MAP_MAPPED, &mapped) == -1)
		goto out;
	*step = "an attachment";
	at = (void *)kernel(SYS_mmap, 0, (long)window, RW, MAP_SHARED, fd, 0);
out:
	err = errno;
	close_quietly(fd);
	errno = err;
	return at == MAP_FAILED ? NULL : at;
}

/* The attachment that the program gets in place of the shadow, or the shadow. */
static void *adopt(void *shadow, size_t length, int populate, bool sysv)
{
	struct slot *slot = slots;
	struct rlimit limit;
	const char *step = "room in the table", *against = NULL;
	int err = errno;
	void *at = NULL;
	struct before before;
	size_t window;

	/* A kernel with another alignment refuses, and then it is the shadow. */
	window = round_up(length, ALIGNMENT);
	/* limit_makes_way() says why. */
	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		against = "RLIMIT_AS";
	/* Memory that is readable is made executable: an attachment is not. */
	else if (personality(0xffffffff) & READ_IMPLIES_EXEC)
		against = "READ_IMPLIES_EXEC";
	if (against) {
		say("%s is set: %zu bytes at %p stay what they are", against, length, shadow);
		errno = err;
		return shadow;
	}

	lock(&before);
	errno = ENOSPC;
	while (slot < slots + SLOTS && slot->at)
		slot++;
	if (slot < slots + SLOTS)
		at = attach((uintptr_t)shadow, length, window, populate, &step);
	if (at) {
		unsigned int used = (unsigned int)(slot - slots) + 1;

		slot->window = window;
		slot->length = length;
		slot->shadow = (uintptr_t)shadow;
		slot->sysv = sysv;
		atomic_store_explicit(&slot->at, (uintptr_t)at, memory_order_release);
		if (used > atomic_load(&slots_used))
			atomic_store_explicit(&slots_used, used, memory_order_release);
		say("%zu bytes at %p share page tables", length, at);
	} else {
		say("%zu bytes at %p stay what they are: no %s: error %d", length, shadow, step,
		    errno);
	}
	unlock(&before);
	errno = err;
	return at ? at : shadow;
}

static bool is_wanted(size_t length)
{
	return atomic_load_explicit(&ready, memory_order_acquire) && length >= threshold &&
	       !atomic_load(&locks_future);
}

/* --- mmap, munmap ------------------------------------------------------------------------- */

API void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	const int others = MAP_NORESERVE | MAP_POPULATE | MAP_STACK;
	int populate = flags & MAP_POPULATE;
	void *at;

	if (addr && flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) &&
	    !make_way(addr, whole(length), "mmap"))
		return MAP_FAILED;
	/* Where it has to be, what it is made of, who may do what: nothing but the plain case. */
	if (addr || prot != RW || (flags & ~others) != (MAP_SHARED | MAP_ANONYMOUS) ||
	    !is_wanted(length))
		return REAL(mmap)(addr, length, prot, flags, fd, offset);

	at = REAL(mmap)(addr, length, prot, flags & ~MAP_POPULATE, fd, offset);
	if (at == MAP_FAILED)
		return at;
	addr = adopt(at, whole(length), populate, false);
	if (addr == at && populate) {
		int err = errno;

		/* As far as it goes, which is nobody's to know: so it is for mmap(). */
		kernel(SYS_madvise, (long)at, (long)whole(length), MADV_POPULATE_WRITE, 0, 0, 0);
		errno = err;
	}
	return addr;
}

API void *mmap64(void *addr, size_t length, int prot, int flags, int fd, off64_t offset)
	__attribute__((alias("mmap")));

/* 1: not a whole one, or none */
static int unmap_whole(const void *addr, size_t length, bool sysv_only)
{
	struct slot *slot = any_slot(addr, length);
	int result;

	if (!slot || slot->at != (uintptr_t)addr || (sysv_only && !slot->sysv))
		return 1;
	if (!sysv_only && (length < slot->length || length > slot->window))
		return 1;
	forget(slot);
	result = (int)kernel(SYS_munmap, (long)addr, (long)slot->window, 0, 0, 0, 0);
	if (result == -1) {
		/* It is there still, and so is the shadow. */
		atomic_store_explicit(&slot->at, (uintptr_t)addr, memory_order_release);
		return -1;
	}
	/* For want of memory it may stay, and nobody sees it. */
	drop_shadow(slot);
	return 0;
}

API int munmap(void *addr, size_t length)
{
	int result = 1;
	struct before before;

	if (length && any_slot(addr, whole(length)) && (uintptr_t)addr % page == 0) {
		lock(&before);
		result = unmap_whole(addr, whole(length), false);
		if (result == 1 && !give_up_range(addr, whole(length), "munmap"))
			result = -1;
		unlock(&before);
	}
	return result == 1 ? REAL(munmap)(addr, length) : result;
}

/* --- calls that the shadow answers -------------------------------------------------------- */

/*
 * Do `call`, where `addr` is in it, for a range: on the shadow if it can answer
 * and has all of the range, otherwise where it is asked for, by libc, after
 * whatever is there has been given up.
 */
#define ON_SHADOW(type, addr, length, can_answer, call)                                            \
	({                                                                                         \
		type result_;                                                                      \
		if (!any_slot(addr, (length) ? (length) : 1)) {                                    \
			result_ = call;                                                            \
		} else {                                                                           \
			struct slot *slot_;                                                        \
			struct before before_;                                                     \
			void *asked_ = addr, *shadow_ = NULL;                                      \
			lock(&before_);                                                            \
			slot_ = any_slot(addr, (length) ? (length) : 1);                           \
			if (slot_ && (can_answer))                                                 \
				shadow_ = in_shadow(slot_, addr, length);                          \
			if (shadow_) {                                                             \
				addr = shadow_;                                                    \
				result_ = call;                                                    \
				addr = asked_;                                                     \
			} else if (!give_up_range(addr, (length) ? (length) : 1, __func__)) {      \
				result_ = -1;                                                      \
			} else {                                                                   \
				result_ = call;                                                    \
			}                                                                          \
			unlock(&before_);                                                          \
		}                                                                                  \
		result_;                                                                           \
	})

API int mprotect(void *addr, size_t length, int prot)
{
	return ON_SHADOW(int, addr, whole(length), prot == RW, REAL(mprotect)(addr, length, prot));
}

/* What is about memory and not about a view of it; and what only makes touches faster. */
static bool shadow_takes(int advice)
{
	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_DONTNEED:
	case MADV_REMOVE:
	case MADV_COLD:
	case MADV_PAGEOUT:
		return true;
	default:
		return false;
	}
}

API int madvise(void *addr, size_t length, int advice)
{
	struct slot *slot;
	unsigned int i = 0;

	/* Populating means these page tables; the kernel does that. */
	if (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE) {
		slot = next_slot(&i, addr, length ? length : 1);
		if (slot && in_shadow(slot, addr, whole(length)))
			return REAL(madvise)(addr, length, advice);
	}
	return ON_SHADOW(int, addr, whole(length), shadow_takes(advice),
			 REAL(madvise)(addr, length, advice));
}

API int posix_madvise(void *addr, size_t length, int advice)
{
	int err = errno, result;

	/* The error is what it returns. */
	result = ON_SHADOW(int, addr, whole(length), true,
			   REAL(posix_madvise)(addr, length, advice));
	if (result == -1) {
		result = errno;
		errno = err;
	}
	return result;
}

API int mincore(void *addr, size_t length, unsigned char *vec)
{
	return ON_SHADOW(int, addr, whole(length), true, REAL(mincore)(addr, length, vec));
}

/* A cancellation point, but not while the lock is held. */
API int msync(void *addr, size_t length, int flags)
{
	if (any_slot(addr, length ? length : 1))
		REAL(msync)(NULL, 0, 0);
	return ON_SHADOW(int, addr, whole(length), true, REAL(msync)(addr, length, flags));
}

/* --- calls that want page tables of one's own --------------------------------------------- */

API int pkey_mprotect(void *addr, size_t length, int prot, int key)
{
	return make_way(addr, whole(length), __func__)
		       ? REAL(pkey_mprotect)(addr, length, prot, key)
		       : -1;
}

API int mlock(const void *addr, size_t length)
{
	return make_way(addr, whole(length), __func__) ? REAL(mlock)(addr, length) : -1;
}

API int mlock2(const void *addr, size_t length, unsigned int flags)
{
	return make_way(addr, whole(length), __func__) ? REAL(mlock2)(addr, length, flags) : -1;
}

API int munlock(const void *addr, size_t length)
{
	return make_way(addr, whole(length), __func__) ? REAL(munlock)(addr, length) : -1;
}

API int mlockall(int flags)
{
	int result;

	if (flags & MCL_CURRENT && !make_way(0, SIZE_MAX, __func__))
		return -1;
	result = REAL(mlockall)(flags);
	/* What is mapped from now on is to be locked, which an attachment cannot be. */
	if (result == 0)
		atomic_store(&locks_future, flags & MCL_FUTURE);
	return result;
}

API int munlockall(void)
{
	int result = REAL(munlockall)();

	if (result == 0)
		atomic_store(&locks_future, false);
	return result;
}

/*
 * Windows are larger than what is in them, and addresses are what RLIMIT_AS limits.
 * Which limit is to be set is not looked at: the kernel says if it cannot be read.
 */
static bool limit_makes_way(int resource, const struct rlimit *limit)
{
	return resource != RLIMIT_AS || !limit || make_way(NULL, SIZE_MAX, "RLIMIT_AS");
}

API int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
	return limit_makes_way((int)resource, limit) ? REAL(setrlimit)(resource, limit) : -1;
}

API int prlimit(pid_t pid, __rlimit_resource_t resource, const struct rlimit *limit,
		struct rlimit *before)
{
	/* Any thread's number will do for one's own. */
	bool own = !pid || kernel(SYS_tgkill, getpid(), pid, 0, 0, 0, 0) == 0;

	if (own && !limit_makes_way((int)resource, limit))
		return -1;
	return REAL(prlimit)(pid, resource, limit, before);
}

API int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit)
	__attribute__((alias("setrlimit")));
API int prlimit64(pid_t pid, __rlimit_resource_t resource, const struct rlimit64 *limit,
		  struct rlimit64 *before) __attribute__((alias("prlimit")));

API int remap_file_pages(void *addr, size_t length, int prot, size_t offset, int flags)
{
	return make_way(addr, whole(length), __func__)
		       ? REAL(remap_file_pages)(addr, length, prot, offset, flags)
		       : -1;
}

/* It may be about oneself, and which addresses is for the kernel to read. */
API ssize_t process_madvise(int pidfd, const struct iovec *ranges, size_t count, int advice,
			    unsigned int flags)
{
	return make_way(NULL, SIZE_MAX, __func__) ? kernel(SYS_process_madvise, pidfd, (long)ranges,
							   (long)count, advice, flags, 0)
						  : -1;
}

long any_prctl(long option, long a, long b, long c, long d)
{
	/* A name is given to memory, and an attachment is of a file. */
	if (option == PR_SET_VMA && !make_way((void *)b, whole((size_t)c), "prctl"))
		return -1;
	return kernel(SYS_prctl, option, a, b, c, d, 0);
}

API void *mremap(void *addr, size_t length, size_t new_length, int flags, ...)
{
	void *new_addr = NULL;
	va_list args;

	/* As libc has it: there it is a hint. */
	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) {
		va_start(args, flags);
		new_addr = va_arg(args, void *);
		va_end(args);
	}
	if (flags & MREMAP_FIXED) {
		if (!make_way(new_addr, whole(new_length), __func__))
			return MAP_FAILED;
	}
	if (!make_way(addr, length ? whole(length) : 1, __func__))
		return MAP_FAILED;
	return REAL(mremap)(addr, length, new_length, flags, new_addr);
}

/* --- System V ----------------------------------------------------------------------------- */

API void *shmat(int id, const void *addr, int flags)
{
	struct shmid_ds segment;
	int err = errno;
	void *at;

	/* Over something, or into the end of a window: as long as it is, if that can be asked. */
	if (addr && any_slot(addr, SIZE_MAX)) {
		size_t length = shmctl(id, IPC_STAT, &segment) ? SIZE_MAX : segment.shm_segsz;

		if (!make_way((void *)((uintptr_t)addr & ~(page - 1)), whole(length), __func__))
			return (void *)-1;
		errno = err;
	}
	at = REAL(shmat)(id, addr, flags);
	err = errno;
	/* A segment without a key is known to those who were told its number: children, above all.
	 */
	if (at == (void *)-1 || addr || flags || !is_wanted(SIZE_MAX) ||
	    shmctl(id, IPC_STAT, &segment) == -1 || segment.shm_perm.__key != IPC_PRIVATE ||
	    segment.shm_segsz < threshold) {
		errno = err;
		return at;
	}
	return adopt(at, whole(segment.shm_segsz), 0, true);
}

API int shmdt(const void *addr)
{
	int result = 1;
	struct before before;

	if (any_slot(addr, 1)) {
		lock(&before);
		result = unmap_whole(addr, 1, true);
		unlock(&before);
	}
	return result == 1 ? REAL(shmdt)(addr) : result;
}

/* --- syscall(2) --------------------------------------------------------------------------- */

/*
 * libnuma's way, and that of programs whose libc lacks a wrapper. What is left
 * alone ends in a jump: a call that returns twice must not return here.
 */
long any_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	switch (number) {
	case SYS_mmap:
		return (long)mmap((void *)a, (size_t)b, (int)c, (int)d, (int)e, f);
	case SYS_munmap:
		return munmap((void *)a, (size_t)b);
	case SYS_mprotect:
		return mprotect((void *)a, (size_t)b, (int)c);
	case SYS_madvise:
		return madvise((void *)a, (size_t)b, (int)c);
	case SYS_mincore:
		return mincore((void *)a, (size_t)b, (unsigned char *)c);
	case SYS_msync:
		return msync((void *)a, (size_t)b, (int)c);
	case SYS_mremap:
		return (long)mremap((void *)a, (size_t)b, (size_t)c, (int)d, (void *)e);
	case SYS_mlockall:
		return mlockall((int)a);
	case SYS_munlockall:
		return munlockall();
	case SYS_shmat:
		return (long)shmat((int)a, (void *)b, (int)c);
	case SYS_shmdt:
		return shmdt((void *)a);
	case SYS_prctl:
		return any_prctl(a, b, c, d, e);
	case SYS_process_madvise:
		return process_madvise((int)a, (const struct iovec *)b, (size_t)c, (int)d,
				       (unsigned int)e);
	case SYS_move_pages:
		if (d && !make_way(NULL, SIZE_MAX, "move_pages"))
			return -1;
		break;
	case SYS_get_mempolicy:
		if (e & MPOL_F_ADDR && !make_way((void *)d, 1, "get_mempolicy"))
			return -1;
		break;
	case SYS_setrlimit:
		return setrlimit((__rlimit_resource_t)a, (const struct rlimit *)b);
	case SYS_prlimit64:
		return prlimit((pid_t)a, (__rlimit_resource_t)b, (const struct rlimit *)c,
			       (struct rlimit *)d);
	case SYS_mbind:
	case SYS_mseal:
	case SYS_mlock:
	case SYS_mlock2:
	case SYS_munlock:
	case SYS_pkey_mprotect:
	case SYS_remap_file_pages:
#ifdef SYS_set_mempolicy_home_node
	case SYS_set_mempolicy_home_node:
#endif
		if (!make_way((void *)a, whole((size_t)b), __func__))
			return -1;
		break;
	}
	return kernel(number, a, b, c, d, e, f);
}

/* --- start -------------------------------------------------------------------------------- */

/* The variable, if it is there and fits. */
static void copy_variable(char *to, const char *name)
{
	const char *value = secure_getenv(name);

	if (value && *value && strlen(value) < PATH_MAX)
		strcpy(to, value);
}

/* "64M"; 0: not a size */
static uint64_t size_parse(const char *text)
{
	static const char units[] = "KMGT";
	unsigned long long value;
	const char *unit;
	char *end;

	if (*text < '0' || *text > '9')
		return 0;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno)
		return 0;
	if (!*end)
		return value;
	unit = strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end);
	if (!unit || end[1] || value > UINT64_MAX >> (10 * (unit - units + 1)))
		return 0;
	return (uint64_t)value << (10 * (unit - units + 1));
}

static void __attribute__((constructor)) start(void)
{
	const char *text = secure_getenv("MSHARE_PRELOAD_THRESHOLD");
	int err = errno;
	void *word;
	uint64_t size;
	int fd;

	look_up();
	page = (size_t)sysconf(_SC_PAGESIZE);
	copy_variable(log_path, "MSHARE_PRELOAD_LOG");
	copy_variable(root, "MSHARE_ROOT");
	if (text) {
		size = size_parse(text);
		if (size)
			threshold = size;
		else
			say("MSHARE_PRELOAD_THRESHOLD=%.64s is no size: it is %llu", text,
			    (unsigned long long)threshold);
	}

	fd = region_new();
	if (fd == -1) {
		say("%s has no regions for this process (error %d): everything is libc's", root,
		    errno);
		goto out;
	}
	close_quietly(fd);
	word = (void *)kernel(SYS_mmap, 0, (long)page, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (word == MAP_FAILED)
		goto out;
	if (kernel(SYS_madvise, (long)word, (long)page, MADV_WIPEONFORK, 0, 0, 0) == -1 ||
	    pthread_atfork(fork_prepare, fork_done, fork_done)) {
		kernel(SYS_munmap, (long)word, (long)page, 0, 0, 0, 0);
		goto out;
	}
	lock_word = word;
	atomic_store_explicit(&ready, true, memory_order_release);
out:
	errno = err;
}
