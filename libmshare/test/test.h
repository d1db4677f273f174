/* SPDX-License-Identifier: MIT */
/*
 * What every test program here needs: TAP output, probes that survive faults,
 * regions with names of their own, and peers (other processes that do what
 * they are told).
 *
 * A program tests one behaviour, has its own main(), prints TAP and exits with
 * 0 (pass), 1 (fail) or 77 (skip):
 *
 *	int main(int argc, char **argv)
 *	{
 *		begin(argc, argv);
 *		int fd = region_new(unique("a"), GIB);
 *		check(mshare_unmap(fd, 0, page()) == 0, "rule 2: unmap of a hole is 0");
 *		check_error(mshare_map(fd, 1, page(), PROT_READ, 0, -1, 0), EINVAL,
 *		            "rule 2: an unaligned offset");
 *		return done();
 *	}
 *
 * The plan is printed last; the runner counts, so that a program which ends
 * early cannot pass. Names made with unique() are unlinked at exit.
 */
#ifndef MSHARE_TEST_H
#define MSHARE_TEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <mshare.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)
#define TIB ((size_t)1 << 40)

/* Where addresses end, for those who ask for no higher ones. */
#ifdef __aarch64__
#define TOP ((size_t)1 << 48)
#else
#define TOP ((size_t)1 << 47)
#endif

#define RW (PROT_READ | PROT_WRITE)
/* A user and group that own nothing here. */
#define STRANGER 54321

#if defined(__SANITIZE_ADDRESS__)
#define TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define TEST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_TSAN 1
#endif
#endif
#ifndef TEST_ASAN
#define TEST_ASAN 0
#endif
#ifndef TEST_TSAN
#define TEST_TSAN 0
#endif

/* For what touches addresses that the sanitizers know nothing of. */
#if TEST_TSAN
#define UNSANITIZED __attribute__((no_sanitize("thread"), noinline))
#elif TEST_ASAN
#define UNSANITIZED __attribute__((no_sanitize("address"), noinline))
#else
#define UNSANITIZED __attribute__((noinline))
#endif

static inline size_t page(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* ---- TAP ---------------------------------------------------------------- */

static struct {
	int run, failed;
	pid_t pid;
	char program[64];
	char *self;
	char names[64][200];
	int named;
} tap __attribute__((unused));

__attribute__((format(printf, 1, 2))) static inline void say(const char *fmt, ...)
{
	char line[2048];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if ((size_t)n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	/* One write: lines of several processes do not mix. */
	if (write(STDOUT_FILENO, line, (size_t)n) < 0)
		_exit(1);
}

/* A line of explanation. */
#define note(...) tap_note(__VA_ARGS__)
__attribute__((format(printf, 1, 2))) static inline void tap_note(const char *fmt, ...)
{
	char text[1900];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say("# %s", text);
}

__attribute__((format(printf, 5, 6))) static inline bool
tap_ok(const char *file, int line, const char *expr, bool good, const char *fmt, ...)
{
	char what[1024];
	int saved = errno;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (getpid() != tap.pid) {
		/* A child's word would spoil the count: it says so by exiting. */
		if (!good)
			say("# child %d: FAILED %s: %s (%s:%d, errno %s)", getpid(), what, expr,
			    file, line, strerror(saved));
		if (!good)
			_exit(1);
		return good;
	}
	tap.run++;
	if (!good)
		tap.failed++;
	say("%sok %d - %s", good ? "" : "not ", tap.run, what);
	if (!good) {
		say("#   %s:%d: %s", file, line, expr);
		say("#   errno %d (%s), mshare_errno %d, \"%s\"", saved, strerror(saved),
		    mshare_errno(), mshare_errmsg());
	}
	errno = saved;
	return good;
}

#define check(cond, ...) tap_ok(__FILE__, __LINE__, #cond, (cond), __VA_ARGS__)

/* Two numbers that must be equal; both are shown if they are not. */
#define check_eq(got, want, ...)                                                                   \
	({                                                                                         \
		long long got_ = (long long)(got), want_ = (long long)(want);                      \
		int saved_ = errno;                                                                \
		if (got_ != want_)                                                                 \
			note("  got %lld (%#llx), wanted %lld (%#llx)", got_,                      \
			     (unsigned long long)got_, want_, (unsigned long long)want_);          \
		errno = saved_;                                                                    \
		tap_ok(__FILE__, __LINE__, #got " == " #want, got_ == want_, __VA_ARGS__);         \
	})

/*
 * A call of this library must fail (-1 or MAP_FAILED) with errno `want`, and
 * mshare_errno() and mshare_errmsg() must know of it too.
 */
#define check_error(call, want, ...)                                                               \
	({                                                                                         \
		errno = 0;                                                                         \
		long long r_ = (long long)(call);                                                  \
		int e_ = errno;                                                                    \
		bool good_ = r_ == -1 && e_ == (want) && mshare_errno() == (want) &&               \
			     strlen(mshare_errmsg()) > 10;                                         \
		if (!good_)                                                                        \
			note("  returned %lld with errno %d (%s), wanted -1 and %d (%s)", r_, e_,  \
			     strerror(e_), (want), strerror(want));                                \
		errno = e_;                                                                        \
		tap_ok(__FILE__, __LINE__, #call " fails with " #want, good_, __VA_ARGS__);        \
	})

/* The same for a call made by a peer (below). */
#define check_peer_error(call, want, ...)                                                          \
	({                                                                                         \
		errno = 0;                                                                         \
		long long r_ = (long long)(call);                                                  \
		int e_ = errno;                                                                    \
		bool good_ = r_ == -1 && e_ == (want);                                             \
		if (!good_)                                                                        \
			note("  peer returned %lld with errno %d (%s: %s), wanted -1 and %d (%s)", \
			     r_, e_, strerror(e_), peer_errmsg, (want), strerror(want));           \
		errno = e_;                                                                        \
		tap_ok(__FILE__, __LINE__, #call " fails with " #want, good_, __VA_ARGS__);        \
	})

/* A step of the set-up, without which nothing below makes sense. */
#define must(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond))                                                                       \
			tap_bail(__FILE__, __LINE__, #cond);                                       \
	} while (0)
__attribute__((noreturn)) static inline void tap_bail(const char *file, int line, const char *expr)
{
	int saved = errno;

	say("%s %s:%d: %s: errno %d (%s), mshare_errno %d, \"%s\"",
	    getpid() == tap.pid ? "Bail out!" : "# child:", file, line, expr, saved,
	    strerror(saved), mshare_errno(), mshare_errmsg());
	if (getpid() != tap.pid)
		_exit(1);
	exit(1);
}

/* Nothing of this program can run here, and this is why. */
__attribute__((noreturn, format(printf, 1, 2))) static inline void skip_all(const char *fmt, ...)
{
	char why[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	if (tap.run)
		say("Bail out! skip_all after a test: %s", why);
	else
		say("1..0 # SKIP %s", why);
	exit(tap.run ? 1 : 77);
}

/* One check that cannot be made here. The reason is part of the output. */
__attribute__((format(printf, 2, 3))) static inline void skip(const char *what, const char *fmt,
							      ...)
{
	char why[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	say("ok %d - %s # SKIP %s", ++tap.run, what, why);
}

static inline bool ci(void)
{
	const char *v = getenv("CI");

	return v && *v && strcmp(v, "0") && strcmp(v, "false");
}

/* A check that this machine has not what it takes for: with CI=true it should have. */
#define lacking(what, ...)                                                                         \
	do {                                                                                       \
		if (ci())                                                                          \
			check(false, what ": " __VA_ARGS__);                                       \
		else                                                                               \
			skip(what, __VA_ARGS__);                                                   \
	} while (0)

static inline int done(void)
{
	say("1..%d", tap.run);
	if (!tap.run)
		return 1;
	if (tap.failed)
		note("%d of %d failed", tap.failed, tap.run);
	return tap.failed ? 1 : 0;
}

/* ---- names and regions -------------------------------------------------- */

static inline void tap_unlink_names(void)
{
	if (getpid() != tap.pid)
		return;
	for (int i = tap.named - 1; i >= 0; i--)
		if (mshare_unlink(tap.names[i]) != 0 && (errno == EISDIR || errno == EPERM))
			mshare_rmdir(tap.names[i]);
}

/* A name that no other program here uses, unlinked (or rmdir'ed) at exit. */
static inline const char *unique(const char *what)
{
	must(tap.named < 64);
	char *name = tap.names[tap.named++];

	snprintf(name, sizeof(tap.names[0]), "%s-%d-%.100s", tap.program, (int)tap.pid, what);
	return name;
}

/* A new region: named if name is not NULL; with a window if size is not 0. */
static inline int region_new(const char *name, size_t size)
{
	int fd = name ? mshare_open(name, O_RDWR | O_CREAT | O_EXCL, 0600) : mshare_create(0, 0600);

	must(fd >= 0);
	if (size)
		must(mshare_reserve(fd, NULL, size) == 0);
	return fd;
}

static inline struct mshare_info info_of(int fd)
{
	struct mshare_info info;

	memset(&info, 0, sizeof(info));
	must(mshare_info(fd, &info, sizeof(info)) == 0);
	return info;
}

/* What the back end is and can do; asked of it, never assumed. */
static inline struct mshare_info backend(void)
{
	int fd = mshare_root();

	must(fd >= 0);
	struct mshare_info info = info_of(fd);

	close(fd);
	return info;
}

static inline bool on_shm(void)
{
	return backend().backend == MSHARE_BACKEND_SHM;
}

/*
 * With one set of page tables a change is in force everywhere at once; with one
 * for each attacher, it waits for those that have stopped.
 */
static inline bool shares_tables(void)
{
	return backend().capabilities & MSHARE_CAP_SHARED_PAGE_TABLES;
}

static inline void *at(void *window, size_t offset)
{
	return (char *)window + offset;
}

/* Files below the directory that the runner gives to this program. */
static inline const char *temp_path(const char *name)
{
	static char buf[4][PATH_MAX];
	static int turn;
	const char *dir = getenv("TMPDIR");
	char *out = buf[turn++ % 4];

	snprintf(out, PATH_MAX, "%s/%s-%d-%s", dir && *dir ? dir : "/tmp", tap.program,
		 (int)getpid(), name);
	return out;
}

/* ---- probes ------------------------------------------------------------- */

static __thread sigjmp_buf probe_jump __attribute__((unused));
static __thread volatile sig_atomic_t probing __attribute__((unused));
/* Of the last fault that a probe of this thread met. */
static __thread void *volatile fault_addr __attribute__((unused));
static __thread volatile int fault_code __attribute__((unused));
static struct sigaction probe_old[2];

static inline void probe_handler(int sig, siginfo_t *si, void *context)
{
	(void)context;
	if (probing) {
		fault_addr = si->si_addr;
		fault_code = si->si_code;
		siglongjmp(probe_jump, sig);
	}
	/* Not ours: the fault comes again, to whoever was here before us. */
	sigaction(sig, &probe_old[sig == SIGBUS], NULL);
}

static inline void probe_prepare(void)
{
	static bool prepared;
	struct sigaction sa;

	if (prepared)
		return;
	memset(&sa, 0, sizeof(sa));
	sa.sa_sigaction = probe_handler;
	sa.sa_flags = SA_SIGINFO | SA_NODEFER;
	sigaction(SIGSEGV, &sa, &probe_old[0]);
	sigaction(SIGBUS, &sa, &probe_old[1]);
	prepared = true;
}

/* Load 8 bytes: 0, or the signal that came instead (SIGSEGV, SIGBUS). */
static UNSANITIZED __attribute__((unused)) int load(const volatile void *addr, uint64_t *value)
{
	int sig;

	probe_prepare();
	sig = sigsetjmp(probe_jump, 1);
	if (sig == 0) {
		probing = 1;
		uint64_t v = *(const volatile uint64_t *)addr;

		probing = 0;
		if (value)
			*value = v;
		return 0;
	}
	probing = 0;
	return sig;
}

/* Store 8 bytes: 0, or the signal that came instead. */
static UNSANITIZED __attribute__((unused)) int store(volatile void *addr, uint64_t value)
{
	int sig;

	probe_prepare();
	sig = sigsetjmp(probe_jump, 1);
	if (sig == 0) {
		probing = 1;
		*(volatile uint64_t *)addr = value;
		probing = 0;
		return 0;
	}
	probing = 0;
	return sig;
}

/* Call the code at addr (as int (*)(void)): 0 and its value, or the signal. */
static UNSANITIZED __attribute__((unused)) int call_at(void *addr, int *value)
{
	int sig;

	probe_prepare();
	sig = sigsetjmp(probe_jump, 1);
	if (sig == 0) {
		int (*f)(void);

		memcpy(&f, &addr, sizeof(f));
		probing = 1;
		int v = f();

		probing = 0;
		if (value)
			*value = v;
		return 0;
	}
	probing = 0;
	return sig;
}

/* The value at addr; the program fails if it cannot be read. */
static inline uint64_t value_at(const volatile void *addr)
{
	uint64_t v = 0;

	must(load(addr, &v) == 0);
	return v;
}

/* ---- this process, and others, in numbers ------------------------------- */

/* A kB number of /proc/PID/status ("VmPTE:", "VmRSS:", "Threads:"), or -1. */
static inline long status_number(pid_t pid, const char *key)
{
	char path[64], line[256];
	long n = -1;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "re");

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			n = strtol(line + strlen(key), NULL, 10);
	fclose(f);
	return n;
}

static inline long count_lines(const char *path)
{
	FILE *f = fopen(path, "re");
	long n = 0;
	int c;

	if (!f)
		return -1;
	while ((c = getc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

static inline uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static inline long thread_count(void)
{
	return status_number(getpid(), "Threads:");
}

/* With nothing attached; ThreadSanitizer has one of its own from the first other one on. */
#define THREADS_ALONE (TEST_TSAN ? 2 : 1)

/* How many there are, once it is that many: for a moment one counts that was joined, too. */
static inline long threads_become(long wanted)
{
	uint64_t end = now_ms() + 20000;

	while (thread_count() != wanted && now_ms() < end)
		usleep(1000);
	return thread_count();
}

/* A line on which a forked child and its parent wait for each other. */
struct line {
	int r, w;
};

static inline struct line line_new(void)
{
	int p[2];

	must(pipe2(p, O_CLOEXEC) == 0);
	return (struct line){p[0], p[1]};
}

static inline void line_ring(struct line l)
{
	must(write(l.w, "x", 1) == 1);
}

static inline void line_wait(struct line l)
{
	char c;
	ssize_t n;

	do
		n = read(l.r, &c, 1);
	while (n < 0 && errno == EINTR);
	must(n == 1);
}

static inline void line_close(struct line l)
{
	close(l.r);
	close(l.w);
}

/* Run fn in a forked child; its wait status. fn's value is the exit status. */
static inline int in_child(int (*fn)(void *), void *arg)
{
	pid_t pid = fork();
	int status;

	must(pid >= 0);
	if (pid == 0)
		_exit(fn(arg));
	must(waitpid(pid, &status, 0) == pid);
	return status;
}

static inline bool exited(int status, int code)
{
	return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

/* ---- peers -------------------------------------------------------------- */
/*
 * A peer is another process that does what it is told over a socket. It can be
 * a forked child, a child that has exec'd this program anew, or one that is no
 * relative at all (its parent has gone). The p_ calls work like what they are
 * named after, in the peer; descriptors they return and take are the peer's.
 */

struct peer {
	pid_t pid;
	int sock;
	bool child; /* ours to wait for */
};

enum {
	PEER_OPEN,
	PEER_CREATE,
	PEER_REOPEN,
	PEER_UNLINK,
	PEER_MKDIR,
	PEER_RMDIR,
	PEER_RESERVE,
	PEER_MAP,
	PEER_UNMAP,
	PEER_PROTECT,
	PEER_ADVISE,
	PEER_ATTACH,
	PEER_DETACH,
	PEER_TIMEOUT,
	PEER_INFO,
	PEER_LOAD,
	PEER_STORE,
	PEER_MSHARE,
	PEER_TAKE, /* a descriptor comes with the request */
	PEER_GIVE, /* the answer brings one */
	PEER_CLOSE,
	PEER_BECOME,
	PEER_FORK,
	PEER_EXEC,
	PEER_SETENV,
	PEER_UMASK,
	PEER_LIMIT,
	PEER_HOLD, /* mmap something private at an address */
	PEER_EXIT,
};

struct peer_request {
	int op;
	uint64_t a[7];
	char name[512];
};

struct peer_answer {
	int64_t r;
	int error; /* errno, if r is -1 */
	uint64_t value;
	struct mshare_info info;
	char errmsg[512];
};

/* Of the last peer call that failed. */
static char peer_errmsg[512] __attribute__((unused));

static inline bool peer_send(int sock, const void *data, size_t size, int fd)
{
	struct iovec iov = {(void *)(uintptr_t)data, size};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr m;

	memset(&m, 0, sizeof(m));
	m.msg_iov = &iov;
	m.msg_iovlen = 1;
	if (fd >= 0) {
		memset(&control, 0, sizeof(control));
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	ssize_t n;

	do
		n = sendmsg(sock, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)size;
}

static inline bool peer_receive(int sock, void *data, size_t size, int *fd)
{
	struct iovec iov = {data, size};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr m;

	memset(&m, 0, sizeof(m));
	memset(&control, 0, sizeof(control));
	m.msg_iov = &iov;
	m.msg_iovlen = 1;
	m.msg_control = control.bytes;
	m.msg_controllen = sizeof(control.bytes);
	ssize_t n;

	do
		n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)size)
		return false;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	if (fd)
		*fd = -1;
	if (c && c->cmsg_type == SCM_RIGHTS && fd)
		memcpy(fd, CMSG_DATA(c), sizeof(int));
	return true;
}

__attribute__((noreturn)) static inline void peer_serve(int sock);

__attribute__((noreturn)) static inline void peer_reexec(int sock)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", sock);
	fcntl(sock, F_SETFD, 0);
	execl(tap.self, tap.self, "--peer", number, (char *)NULL);
	_exit(126);
}

/* The whole of a peer. It goes when the other end of its socket has gone. */
__attribute__((noreturn)) static inline void peer_serve(int sock)
{
	struct peer_request q;
	struct peer_answer an;
	int fd;

	fcntl(sock, F_SETFD, FD_CLOEXEC);
	while (peer_receive(sock, &q, sizeof(q), &fd)) {
		int give = -1;
		bool exec = false;

		memset(&an, 0, sizeof(an));
		errno = 0;
		switch (q.op) {
		case PEER_OPEN:
			an.r = mshare_open(q.name, (int)q.a[0], (mode_t)q.a[1]);
			break;
		case PEER_CREATE:
			an.r = mshare_create((unsigned int)q.a[0], (mode_t)q.a[1]);
			break;
		case PEER_REOPEN:
			an.r = mshare_reopen((int)q.a[0], (int)q.a[1]);
			break;
		case PEER_UNLINK:
			an.r = mshare_unlink(q.name);
			break;
		case PEER_MKDIR:
			an.r = mshare_mkdir(q.name, (mode_t)q.a[0]);
			break;
		case PEER_RMDIR:
			an.r = mshare_rmdir(q.name);
			break;
		case PEER_RESERVE:
			an.r = mshare_reserve((int)q.a[0], (void *)q.a[1], q.a[2]);
			break;
		case PEER_MAP:
			an.r = mshare_map((int)q.a[0], q.a[1], q.a[2], (int)q.a[3], (int)q.a[4], -1,
					  0);
			break;
		case PEER_UNMAP:
			an.r = mshare_unmap((int)q.a[0], q.a[1], q.a[2]);
			break;
		case PEER_PROTECT:
			an.r = mshare_protect((int)q.a[0], q.a[1], q.a[2], (int)q.a[3]);
			break;
		case PEER_ADVISE:
			an.r = mshare_advise((int)q.a[0], q.a[1], q.a[2], (int)q.a[3]);
			break;
		case PEER_ATTACH:
			an.r = (int64_t)mshare_attach((int)q.a[0], (void *)q.a[1], (int)q.a[2],
						      (int)q.a[3]);
			break;
		case PEER_DETACH:
			an.r = mshare_detach((void *)q.a[0]);
			break;
		case PEER_TIMEOUT:
			an.r = mshare_set_timeout((int)q.a[0]);
			break;
		case PEER_INFO:
			an.r = mshare_info((int)q.a[0], &an.info, sizeof(an.info));
			break;
		case PEER_LOAD:
			an.r = load((void *)q.a[0], &an.value);
			break;
		case PEER_STORE:
			an.r = store((void *)q.a[0], q.a[1]);
			break;
		case PEER_MSHARE:
			an.r = mshare(q.name, (void *)q.a[0], q.a[1], (int)q.a[2], (mode_t)q.a[3]);
			break;
		case PEER_TAKE:
			an.r = fd;
			break;
		case PEER_GIVE:
			give = (int)q.a[0];
			break;
		case PEER_CLOSE:
			an.r = close((int)q.a[0]);
			break;
		case PEER_BECOME:
			an.r = setresgid((gid_t)q.a[1], (gid_t)q.a[1], (gid_t)q.a[1]) ||
					       setresuid((uid_t)q.a[0], (uid_t)q.a[0],
							 (uid_t)q.a[0])
				       ? -1
				       : 0;
			break;
		case PEER_FORK: {
			int pair[2];

			an.r = -1;
			if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
				break;
			an.r = fork();
			if (an.r == 0) {
				close(pair[0]);
				close(sock);
				peer_serve(pair[1]);
			}
			close(pair[1]);
			give = pair[0];
			break;
		}
		case PEER_EXEC:
			exec = true;
			break;
		case PEER_SETENV:
			an.r = q.a[0] ? setenv(q.name, q.name + strlen(q.name) + 1, 1)
				      : unsetenv(q.name);
			break;
		case PEER_UMASK:
			an.r = umask((mode_t)q.a[0]);
			break;
		case PEER_LIMIT: {
			struct rlimit rl = {q.a[1], q.a[2]};

			an.r = setrlimit((int)q.a[0], &rl);
			break;
		}
		case PEER_HOLD:
			an.r = (int64_t)mmap((void *)q.a[0], q.a[1], PROT_READ,
					     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
						     (q.a[0] ? MAP_FIXED_NOREPLACE : 0),
					     -1, 0);
			break;
		case PEER_EXIT:
			_exit((int)q.a[0]);
		default:
			an.r = -1;
			errno = ENOSYS;
		}
		if (an.r == -1) {
			an.error = errno;
			snprintf(an.errmsg, sizeof(an.errmsg), "%s", mshare_errmsg());
		}
		/* A peer that is about to exec answers from its new life. */
		if (exec)
			peer_reexec(sock);
		if (!peer_send(sock, &an, sizeof(an), give))
			break;
		if (give >= 0)
			close(give);
		/* Its children are nobody else's to wait for. */
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	_exit(0);
}

static inline struct peer_answer peer_await(struct peer *p, int *fd)
{
	struct peer_answer an;
	int got = -1;

	memset(&an, 0, sizeof(an));
	if (!peer_receive(p->sock, &an, sizeof(an), &got)) {
		an.r = -1;
		an.error = EPIPE;
		snprintf(an.errmsg, sizeof(an.errmsg), "peer %d has gone", (int)p->pid);
	}
	if (fd)
		*fd = got;
	else if (got >= 0)
		close(got);
	if (an.r == -1) {
		memcpy(peer_errmsg, an.errmsg, sizeof(peer_errmsg));
		errno = an.error;
	}
	return an;
}

/* Ask without waiting; peer_await() has the answer. */
static inline void peer_post(struct peer *p, int op, const char *name, uint64_t a0, uint64_t a1,
			     uint64_t a2, uint64_t a3, uint64_t a4)
{
	struct peer_request q;

	memset(&q, 0, sizeof(q));
	q.op = op;
	if (name)
		snprintf(q.name, sizeof(q.name), "%s", name);
	q.a[0] = a0;
	q.a[1] = a1;
	q.a[2] = a2;
	q.a[3] = a3;
	q.a[4] = a4;
	/* If it is gone, the answer says so. */
	(void)!peer_send(p->sock, &q, sizeof(q), -1);
}

static inline int64_t peer_do(struct peer *p, int op, const char *name, uint64_t a0, uint64_t a1,
			      uint64_t a2, uint64_t a3, uint64_t a4)
{
	peer_post(p, op, name, a0, a1, a2, a3, a4);
	return peer_await(p, NULL).r;
}

static inline struct peer peer_start(bool exec, bool orphan)
{
	int pair[2];
	struct peer p;
	struct line birth;

	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	if (orphan)
		birth = line_new();
	p.pid = fork();
	must(p.pid >= 0);
	if (p.pid == 0) {
		close(pair[0]);
		if (orphan) {
			pid_t pid = fork();

			if (pid != 0) {
				bool told = write(birth.w, &pid, sizeof(pid)) == sizeof(pid);

				_exit(pid < 0 || !told);
			}
			setsid();
		}
		if (exec)
			peer_reexec(pair[1]);
		peer_serve(pair[1]);
	}
	close(pair[1]);
	p.sock = pair[0];
	p.child = !orphan;
	if (orphan) {
		int status;

		must(waitpid(p.pid, &status, 0) == p.pid && exited(status, 0));
		must(read(birth.r, &p.pid, sizeof(p.pid)) == sizeof(p.pid));
		line_close(birth);
	}
	return p;
}

/* A forked child: it has what this process has, attachments too. */
static inline struct peer peer_fork(void)
{
	return peer_start(false, false);
}

/* A child that has exec'd this program anew. */
static inline struct peer peer_exec(void)
{
	return peer_start(true, false);
}

/* No relative: exec'd, and its parent has gone. */
static inline struct peer peer_unrelated(void)
{
	return peer_start(true, true);
}

static inline int p_open(struct peer *p, const char *name, int oflag, mode_t mode)
{
	return (int)peer_do(p, PEER_OPEN, name, (uint64_t)oflag, mode, 0, 0, 0);
}
static inline int p_create(struct peer *p, unsigned int flags, mode_t mode)
{
	return (int)peer_do(p, PEER_CREATE, NULL, flags, mode, 0, 0, 0);
}
static inline int p_reopen(struct peer *p, int fd, int oflag)
{
	return (int)peer_do(p, PEER_REOPEN, NULL, (uint64_t)fd, (uint64_t)oflag, 0, 0, 0);
}
static inline int p_unlink(struct peer *p, const char *name)
{
	return (int)peer_do(p, PEER_UNLINK, name, 0, 0, 0, 0, 0);
}
static inline int p_mkdir(struct peer *p, const char *name, mode_t mode)
{
	return (int)peer_do(p, PEER_MKDIR, name, mode, 0, 0, 0, 0);
}
static inline int p_rmdir(struct peer *p, const char *name)
{
	return (int)peer_do(p, PEER_RMDIR, name, 0, 0, 0, 0, 0);
}
static inline int p_reserve(struct peer *p, int fd, void *base, size_t size)
{
	return (int)peer_do(p, PEER_RESERVE, NULL, (uint64_t)fd, (uint64_t)base, size, 0, 0);
}
static inline int p_map(struct peer *p, int fd, size_t offset, size_t length, int prot, int flags)
{
	return (int)peer_do(p, PEER_MAP, NULL, (uint64_t)fd, offset, length, (uint64_t)prot,
			    (uint64_t)flags);
}
static inline int p_unmap(struct peer *p, int fd, size_t offset, size_t length)
{
	return (int)peer_do(p, PEER_UNMAP, NULL, (uint64_t)fd, offset, length, 0, 0);
}
static inline int p_protect(struct peer *p, int fd, size_t offset, size_t length, int prot)
{
	return (int)peer_do(p, PEER_PROTECT, NULL, (uint64_t)fd, offset, length, (uint64_t)prot, 0);
}
static inline int p_advise(struct peer *p, int fd, size_t offset, size_t length, int advice)
{
	return (int)peer_do(p, PEER_ADVISE, NULL, (uint64_t)fd, offset, length, (uint64_t)advice,
			    0);
}
static inline void *p_attach(struct peer *p, int fd, void *addr, int prot, int flags)
{
	return (void *)peer_do(p, PEER_ATTACH, NULL, (uint64_t)fd, (uint64_t)addr, (uint64_t)prot,
			       (uint64_t)flags, 0);
}
static inline int p_detach(struct peer *p, void *addr)
{
	return (int)peer_do(p, PEER_DETACH, NULL, (uint64_t)addr, 0, 0, 0, 0);
}
static inline int p_set_timeout(struct peer *p, int ms)
{
	return (int)peer_do(p, PEER_TIMEOUT, NULL, (uint64_t)ms, 0, 0, 0, 0);
}
static inline int p_info(struct peer *p, int fd, struct mshare_info *info)
{
	peer_post(p, PEER_INFO, NULL, (uint64_t)fd, 0, 0, 0, 0);
	struct peer_answer an = peer_await(p, NULL);

	*info = an.info;
	return (int)an.r;
}
/* 0 and the value, or the signal that the peer met (it lives on). */
static inline int p_load(struct peer *p, const void *addr, uint64_t *value)
{
	peer_post(p, PEER_LOAD, NULL, (uint64_t)addr, 0, 0, 0, 0);
	struct peer_answer an = peer_await(p, NULL);

	if (value)
		*value = an.value;
	return (int)an.r;
}
static inline int p_store(struct peer *p, void *addr, uint64_t value)
{
	return (int)peer_do(p, PEER_STORE, NULL, (uint64_t)addr, value, 0, 0, 0);
}
static inline int p_mshare(struct peer *p, const char *name, void *addr, size_t length, int oflag,
			   mode_t mode)
{
	return (int)peer_do(p, PEER_MSHARE, name, (uint64_t)addr, length, (uint64_t)oflag, mode, 0);
}
/* Hand a descriptor over (SCM_RIGHTS): its number there. */
static inline int p_take(struct peer *p, int fd)
{
	struct peer_request q;

	memset(&q, 0, sizeof(q));
	q.op = PEER_TAKE;
	(void)!peer_send(p->sock, &q, sizeof(q), fd);
	return (int)peer_await(p, NULL).r;
}
/* Have one handed over: its number here. */
static inline int p_give(struct peer *p, int fd)
{
	int got;

	peer_post(p, PEER_GIVE, NULL, (uint64_t)fd, 0, 0, 0, 0);
	peer_await(p, &got);
	return got;
}
static inline int p_close(struct peer *p, int fd)
{
	return (int)peer_do(p, PEER_CLOSE, NULL, (uint64_t)fd, 0, 0, 0, 0);
}
/* For ever: all three user ids and all three group ids. */
static inline int p_become(struct peer *p, uid_t uid, gid_t gid)
{
	return (int)peer_do(p, PEER_BECOME, NULL, uid, gid, 0, 0, 0);
}
static inline int p_umask(struct peer *p, mode_t mask)
{
	return (int)peer_do(p, PEER_UMASK, NULL, mask, 0, 0, 0, 0);
}
static inline int p_limit(struct peer *p, int resource, rlim_t soft, rlim_t hard)
{
	return (int)peer_do(p, PEER_LIMIT, NULL, (uint64_t)resource, soft, hard, 0, 0);
}
static inline void *p_hold(struct peer *p, void *addr, size_t length)
{
	return (void *)peer_do(p, PEER_HOLD, NULL, (uint64_t)addr, length, 0, 0, 0);
}
/* value NULL: unset it. */
static inline int p_setenv(struct peer *p, const char *key, const char *value)
{
	struct peer_request q;

	memset(&q, 0, sizeof(q));
	q.op = PEER_SETENV;
	snprintf(q.name, sizeof(q.name), "%s%c%s", key, 0, value ? value : "");
	q.a[0] = value != NULL;
	(void)!peer_send(p->sock, &q, sizeof(q), -1);
	return (int)peer_await(p, NULL).r;
}
/* The peer forks; the child is a peer as well (a grandchild of ours). */
static inline struct peer p_fork(struct peer *p)
{
	struct peer child;

	peer_post(p, PEER_FORK, NULL, 0, 0, 0, 0, 0);
	child.pid = (pid_t)peer_await(p, &child.sock).r;
	child.child = false;
	must(child.pid > 0 && child.sock >= 0);
	return child;
}
/* The peer execs this program and serves on. */
static inline void p_exec(struct peer *p)
{
	peer_post(p, PEER_EXEC, NULL, 0, 0, 0, 0, 0);
	/* The new image answers requests only: any will tell that it is there. */
	must(peer_do(p, PEER_UMASK, NULL, 022, 0, 0, 0, 0) >= 0);
}

/*
 * When a peer that is not our child has gone, its end of the socket has been
 * closed, which comes before its memory and locks are known to be released:
 * its pid tells.
 */
static inline void peer_wait_gone(struct peer *p)
{
	if (p->child) {
		while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
			;
		return;
	}
	/* Readable when its last thread has gone: then its memory and locks are free. */
	struct pollfd pfd = {.fd = (int)syscall(SYS_pidfd_open, p->pid, 0), .events = POLLIN};

	/* EINVAL: it went while the call was looking. */
	if (pfd.fd < 0 && (errno == ESRCH || errno == EINVAL))
		return;
	must(pfd.fd >= 0);
	must(poll(&pfd, 1, 60000) == 1);
	close(pfd.fd);
}

/* SIGKILL, and wait until it has gone. */
static inline void p_kill(struct peer *p)
{
	kill(p->pid, SIGKILL);
	peer_wait_gone(p);
	close(p->sock);
	p->sock = -1;
}

/* Exit like a program that is done, detaching nothing; true if it was still well. */
static inline bool p_end(struct peer *p)
{
	int status = 0;

	peer_post(p, PEER_EXIT, NULL, 0, 0, 0, 0, 0);
	if (p->child) {
		while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
			;
	} else {
		peer_wait_gone(p);
	}
	close(p->sock);
	p->sock = -1;
	return !p->child || exited(status, 0);
}

/* SIGSTOP, and wait until it has stopped (our own children only). */
static inline void p_stop(struct peer *p)
{
	int status;

	must(kill(p->pid, SIGSTOP) == 0);
	must(waitpid(p->pid, &status, WUNTRACED) == p->pid && WIFSTOPPED(status));
}

static inline void p_continue(struct peer *p)
{
	must(kill(p->pid, SIGCONT) == 0);
}

/* ---- the start ---------------------------------------------------------- */

static inline void begin(int argc, char **argv)
{
	static char self[PATH_MAX];
	const char *slash = strrchr(argv[0], '/');
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	snprintf(tap.program, sizeof(tap.program), "%s", slash ? slash + 1 : argv[0]);
	tap.pid = getpid();
	tap.self = n > 0 ? self : argv[0];
	if (argc == 3 && !strcmp(argv[1], "--peer")) {
		tap.pid = 0; /* a peer's checks do not count */
		peer_serve(atoi(argv[2]));
	}
	umask(022);
	atexit(tap_unlink_names);
}

#endif /* MSHARE_TEST_H */
