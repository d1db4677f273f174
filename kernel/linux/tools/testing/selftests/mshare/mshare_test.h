/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of msharefs have in common.
 *
 * Each test has a mount namespace and a msharefs of its own, so nothing that a
 * test leaves behind, be it killed for its time limit, outlives its processes.
 * The other way round, env_leave() drops all that the test itself holds on to
 * and unmounts: a reference that the kernel has lost count of is an EBUSY there.
 *
 * Helpers return 0 or a negative errno, so that what a test expects stands in
 * the test: EXPECT_EQ(-EINVAL, region_map(...)).
 */
#ifndef MSHARE_TEST_H
#define MSHARE_TEST_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/io_uring.h>
#include <linux/loop.h>
#include <linux/msharefs.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
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
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../kselftest_harness.h"

#define KIB		1024UL
#define MIB		(1024 * KIB)
#define GIB		(1024 * MIB)

/* A window starts at, and is, a multiple of this; abi.c reads the real one. */
#define SLOT		GIB

#define RW		(PROT_READ | PROT_WRITE)
#define RWX		(PROT_READ | PROT_WRITE | PROT_EXEC)

/*
 * For what hangs, not for what is slow: a kernel with KASAN and lockdep under
 * an emulator takes 40 times as long.
 */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	1800

/* Newer than the headers of the distributions this is built on. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

static size_t psize;

static void __attribute__((constructor)) psize_init(void)
{
	psize = sysconf(_SC_PAGESIZE);
}

/* The harness' SKIP() takes back a failure that was noted before it. */
#define SKIP_REST(statement, fmt, ...) do { \
	if (_metadata->exit_code == KSFT_FAIL) { \
		TH_LOG("not skipped, it has failed: " fmt, ##__VA_ARGS__); \
		statement; \
	} else { \
		SKIP(statement, fmt, ##__VA_ARGS__); \
	} \
} while (0)

/* Tests end in _exit(), which does not flush. */
#define note(fmt, ...) do { \
	ksft_print_msg(fmt "\n", ##__VA_ARGS__); \
	fflush(stdout); \
} while (0)

/* ------------------------------------------------------------------ scale */

/* What was said before somebody hung or was killed is worth having. */
__attribute__((constructor)) static void line_by_line(void)
{
	setlinebuf(stdout);
}

/* 1: a few MiB and seconds, for kernels that check everything. 10: in full. */
static inline long scale(void)
{
	const char *text = getenv("MSHARE_TEST_SCALE");
	long n = text ? atol(text) : 10;

	return n < 1 ? 1 : n > 10 ? 10 : n;
}

static inline long by_scale(long quick, long full)
{
	return quick + (full - quick) * (scale() - 1) / 9;
}

static inline double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static inline uint64_t rnd(uint64_t *state)
{
	/* xorshift64*: any will do, as long as the seed can be printed */
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 2685821657736338717ULL;
}

/* ------------------------------------------------------- files and numbers */

static inline int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	n = n < 0 ? -errno : 0;
	close(fd);
	return n;
}

/* The bytes that were there, with a NUL behind them. */
static inline long read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n = 0;

	text[0] = 0;
	if (fd < 0)
		return -errno;
	while (used < size - 1) {
		n = read(fd, text + used, size - 1 - used);
		if (n <= 0)
			break;
		used += n;
	}
	text[used] = 0;
	n = n < 0 ? -errno : (ssize_t)used;
	close(fd);
	return n;
}

/* The number after a key at the beginning of a line; -ENOENT if there is none. */
static inline long long number_after(const char *path, const char *key)
{
	static char text[1 << 18];
	size_t length = strlen(key);
	const char *at;

	if (read_file(path, text, sizeof(text)) < 0)
		return -errno;
	for (at = text; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
		if (!strncmp(at, key, length) &&
		    (at[length] == ':' || at[length] == ' ' || at[length] == '\t'))
			return strtoll(at + length + 1, NULL, 0);
	return -ENOENT;
}

/* kB. Processors count for themselves first; here it is what they add up to. */
static inline long long meminfo(const char *key)
{
	write_file("/proc/sys/vm/stat_refresh", "1");
	return number_after("/proc/meminfo", key);
}

static inline long long vmstat(const char *key)
{
	return number_after("/proc/vmstat", key);
}

static inline long long status_of(pid_t pid, const char *key)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	return number_after(path, key);
}

/*
 * What smaps says of the mapping that starts at an address; -ENOENT: no such
 * mapping, -ENODATA: no such key.
 */
static inline long long smaps_of(pid_t pid, const void *addr, const char *key,
				 char *flags, size_t flags_size)
{
	char path[64], line[1024], start[32];
	long long result = -ENOENT;
	size_t length = strlen(key);
	bool inside = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	snprintf(start, sizeof(start), "%lx-", (unsigned long)addr);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, start, strlen(start))) {
			inside = true;
			result = -ENODATA;
			continue;
		}
		/* Keys begin with a capital letter, addresses do not. */
		if (!inside || line[0] < 'A' || line[0] > 'Z') {
			inside = false;
			continue;
		}
		if (!strncmp(line, key, length) && line[length] == ':')
			result = strtoll(line + length + 1, NULL, 10);
		if (flags && !strncmp(line, "VmFlags:", 8))
			snprintf(flags, flags_size, "%s", line + 8);
	}
	fclose(f);
	return result;
}

/* Whether a mapping starts at the address. */
static inline bool is_mapped(const void *addr)
{
	return smaps_of(getpid(), addr, "Size", NULL, 0) >= 0;
}

static inline long minflt(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt + usage.ru_majflt;
}

static inline int cpus(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN);
}

static inline int pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

/* ---------------------------------------------------------------- regions */

static inline int region_map_flags(int fd, uint64_t offset, uint64_t size,
				   int prot, int flags, int file,
				   uint64_t file_offset)
{
	struct mshare_create arg = {
		.region_offset = offset,
		.size = size,
		.offset = file_offset,
		.prot = prot,
		.flags = flags,
		.fd = file,
	};

	return ioctl(fd, MSHAREFS_CREATE_MAPPING, &arg) ? -errno : 0;
}

static inline int region_map(int fd, uint64_t offset, uint64_t size, int prot)
{
	return region_map_flags(fd, offset, size, prot,
				MAP_SHARED | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
}

static inline int region_map_file(int fd, uint64_t offset, uint64_t size,
				  int prot, int file, uint64_t file_offset)
{
	return region_map_flags(fd, offset, size, prot, MAP_SHARED | MAP_FIXED,
				file, file_offset);
}

/* What the caller has at addr. */
static inline int region_map_mapped(int fd, uint64_t offset, uint64_t size,
				    int prot, int flags, const void *addr)
{
	struct mshare_map_mapped arg = {
		.region_offset = offset,
		.size = size,
		.addr = (uintptr_t)addr,
		.prot = prot,
		.flags = flags,
	};

	return ioctl(fd, MSHAREFS_MAP_MAPPED, &arg) ? -errno : 0;
}

static inline int region_unmap(int fd, uint64_t offset, uint64_t size)
{
	struct mshare_unmap arg = { .region_offset = offset, .size = size };

	return ioctl(fd, MSHAREFS_UNMAP, &arg) ? -errno : 0;
}

static inline int region_protect(int fd, uint64_t offset, uint64_t size,
				 int prot)
{
	struct mshare_protect arg = {
		.region_offset = offset,
		.size = size,
		.prot = prot,
	};

	return ioctl(fd, MSHAREFS_PROTECT, &arg) ? -errno : 0;
}

static inline int region_advise(int fd, uint64_t offset, uint64_t size,
				int advice)
{
	struct mshare_advise arg = {
		.region_offset = offset,
		.size = size,
		.advice = advice,
	};

	return ioctl(fd, MSHAREFS_ADVISE, &arg) ? -errno : 0;
}

static inline int region_reserve(int fd, uint64_t size, uint64_t base)
{
	struct mshare_reserve arg = { .size = size, .base = base };

	return ioctl(fd, MSHAREFS_RESERVE, &arg) ? -errno : 0;
}

static inline int region_set_base(int fd, uint64_t base)
{
	struct mshare_base arg = { .base = base };

	return ioctl(fd, MSHAREFS_SET_BASE, &arg) ? -errno : 0;
}

static inline int region_get_base(int fd, uint64_t *base)
{
	struct mshare_base arg = {};

	if (ioctl(fd, MSHAREFS_GET_BASE, &arg))
		return -errno;
	*base = arg.base;
	return 0;
}

static inline struct mshare_region_info region_info(int fd)
{
	struct mshare_region_info info;

	memset(&info, 0xff, sizeof(info));
	if (ioctl(fd, MSHAREFS_GET_INFO, &info))
		ksft_print_msg("MSHAREFS_GET_INFO: %s\n", strerror(errno));
	return info;
}

/* How many entries; -errno. */
static inline long region_list(int fd, uint64_t start,
			       struct mshare_mapping_entry *entries, uint32_t room,
			       uint64_t *generation)
{
	struct mshare_list_mappings arg = {
		.start = start,
		.entries = (uintptr_t)entries,
		.count = room,
	};

	if (ioctl(fd, MSHAREFS_LIST_MAPPINGS, &arg))
		return -errno;
	if (generation)
		*generation = arg.generation;
	return arg.count;
}

/* The address or MAP_FAILED. An address given is insisted on. */
static inline void *region_attach(int fd, void *addr, int prot)
{
	struct stat st;

	if (fstat(fd, &st))
		return MAP_FAILED;
	return mmap(addr, st.st_size, prot,
		    MAP_SHARED | (addr ? MAP_FIXED_NOREPLACE : 0), fd, 0);
}

/*
 * A new region in a directory, window and all: O_TMPFILE if it has no name.
 * A descriptor or -errno.
 */
static inline int region_new(const char *dir, const char *name, uint64_t window)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name ? name : "");
	fd = open(path, O_RDWR | O_CLOEXEC |
		  (name ? O_CREAT | O_EXCL : O_TMPFILE), 0600);
	if (fd < 0)
		return -errno;
	if (window && ftruncate(fd, window)) {
		int error = -errno;

		close(fd);
		return error;
	}
	return fd;
}

/* Another open file description of the same file. */
static inline int reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ----------------------------------------------------------------- probes */

/*
 * One access that may fail: 0 or the signal it got. Nothing is masked in the
 * handler, so that a jump out of it costs no system call.
 */
static __thread sigjmp_buf probe_env;
static __thread volatile sig_atomic_t probing;

static void probe_handler(int sig)
{
	if (!probing) {
		/* Not ours: fault again, and die of it. */
		signal(sig, SIG_DFL);
		return;
	}
	siglongjmp(probe_env, sig);
}

static void __attribute__((constructor)) probe_init(void)
{
	struct sigaction sa = {
		.sa_handler = probe_handler,
		.sa_flags = SA_NODEFER,
	};

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGILL, &sa, NULL);
}

/* Not inlined: nothing of the caller's is in a register across the jump. */
#define PROBE static __attribute__((noinline, unused))

PROBE int probe_read(const volatile void *addr, uint64_t *value)
{
	int sig = sigsetjmp(probe_env, 0);

	if (!sig) {
		probing = 1;
		*value = *(const volatile uint64_t *)addr;
	}
	probing = 0;
	return sig;
}

PROBE int probe_write(volatile void *addr, uint64_t value)
{
	int sig = sigsetjmp(probe_env, 0);

	if (!sig) {
		probing = 1;
		*(volatile uint64_t *)addr = value;
	}
	probing = 0;
	return sig;
}

/* Calls what is at the address, which had better return. */
PROBE int probe_exec(void *addr)
{
	int sig = sigsetjmp(probe_env, 0);

	if (!sig) {
		probing = 1;
		((void (*)(void))addr)();
	}
	probing = 0;
	return sig;
}

static inline uint64_t peek(const volatile void *addr)
{
	return *(const volatile uint64_t *)addr;
}

static inline void poke(volatile void *addr, uint64_t value)
{
	*(volatile uint64_t *)addr = value;
}

static inline uint64_t mix(uint64_t seed, uint64_t n)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ULL + n;

	x ^= x >> 31;
	x *= 0xbf58476d1ce4e5b9ULL;
	return x ^ x >> 27;
}

/* The first word of each page. */
static inline void fill_pages(void *addr, size_t size, uint64_t seed)
{
	for (size_t i = 0; i < size; i += psize)
		poke((char *)addr + i, mix(seed, i));
}

/* How many are not what fill_pages() wrote. */
static inline long check_pages(const void *addr, size_t size, uint64_t seed)
{
	long wrong = 0;

	for (size_t i = 0; i < size; i += psize)
		wrong += peek((const char *)addr + i) != mix(seed, i);
	return wrong;
}

/* ------------------------------------------------------------------ peers */

/*
 * A process that does what it is told: call a function of this program. It is
 * a child, so the function is where it is here, and so are descriptors and
 * attachments as of peer_start(). It dies with the test.
 */
#define PEERS_MAX	1024
#define PEER_GONE	LONG_MIN
/* What the functions below answer if they got a signal. */
#define SIG(signal)	(-1000L - (signal))

struct peer {
	pid_t pid;
	int to, from;
};

typedef long (*peer_fn)(long a, long b, long c);

struct peer_call {
	peer_fn fn;
	long a, b, c;
};

static struct peer *peers[PEERS_MAX];
static int peers_used;

static inline void peer_forget(struct peer *peer)
{
	for (int i = 0; i < peers_used; i++) {
		if (peers[i] == peer) {
			peers[i] = peers[--peers_used];
			break;
		}
	}
}

static inline int peer_start(struct peer *peer)
{
	int to[2], from[2];
	struct peer_call call;
	pid_t parent = getpid();
	long result;

	if (pipe2(to, O_CLOEXEC))
		return -errno;
	if (pipe2(from, O_CLOEXEC)) {
		result = -errno;
		close(to[0]);
		close(to[1]);
		return result;
	}
	fflush(stdout);
	peer->pid = fork();
	if (peer->pid < 0)
		return -errno;
	if (peer->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
		/* So that the end of one is seen while others are there. */
		close(to[1]);
		close(from[0]);
		for (int i = 0; i < peers_used; i++) {
			close(peers[i]->to);
			close(peers[i]->from);
		}
		peers_used = 0;
		while (read(to[0], &call, sizeof(call)) == sizeof(call)) {
			result = call.fn(call.a, call.b, call.c);
			if (write(from[1], &result, sizeof(result)) !=
			    sizeof(result))
				break;
		}
		_exit(0);
	}
	close(to[0]);
	close(from[1]);
	peer->to = to[1];
	peer->from = from[0];
	if (peers_used == PEERS_MAX)
		abort();
	peers[peers_used++] = peer;
	return 0;
}

static inline void peer_send(struct peer *peer, peer_fn fn, long a, long b,
			     long c)
{
	struct peer_call call = { fn, a, b, c };
	struct sigaction ignore = { .sa_handler = SIG_IGN }, before;

	/* That it is gone is what peer_wait() says. */
	sigaction(SIGPIPE, &ignore, &before);
	if (write(peer->to, &call, sizeof(call)) != sizeof(call))
		peer->to = -1;
	sigaction(SIGPIPE, &before, NULL);
}

static inline long peer_wait(struct peer *peer)
{
	long result;
	ssize_t n;

	do {
		n = read(peer->from, &result, sizeof(result));
	} while (n < 0 && errno == EINTR);
	return n == sizeof(result) ? result : PEER_GONE;
}

static inline long peer_call(struct peer *peer, peer_fn fn, long a, long b,
			     long c)
{
	peer_send(peer, fn, a, b, c);
	return peer_wait(peer);
}

/* Its wait status. */
static inline int peer_reap(struct peer *peer)
{
	int status = -1;

	close(peer->to);
	close(peer->from);
	while (waitpid(peer->pid, &status, 0) < 0 && errno == EINTR)
		;
	peer_forget(peer);
	peer->pid = 0;
	return status;
}

static inline int peer_stop(struct peer *peer)
{
	return peer_reap(peer);
}

static inline int peer_kill(struct peer *peer)
{
	kill(peer->pid, SIGKILL);
	return peer_reap(peer);
}

/* Things to tell a peer. */
static inline long do_attach(long fd, long addr, long prot)
{
	void *map = region_attach(fd, (void *)addr, prot);

	return map == MAP_FAILED ? -errno : (long)map;
}

static inline long do_detach(long addr, long size, long unused)
{
	(void)unused;
	return munmap((void *)addr, size) ? -errno : 0;
}

static inline long do_read(long addr, long unused, long unused2)
{
	uint64_t value;
	int sig = probe_read((void *)addr, &value);

	(void)unused;
	(void)unused2;
	return sig ? SIG(sig) : (long)value;
}

static inline long do_write(long addr, long value, long unused)
{
	int sig = probe_write((void *)addr, value);

	(void)unused;
	return sig ? SIG(sig) : 0;
}

static inline long do_fill(long addr, long size, long seed)
{
	fill_pages((void *)addr, size, seed);
	return 0;
}

static inline long do_check(long addr, long size, long seed)
{
	return check_pages((void *)addr, size, seed);
}

/* Reads every page; how many faults that was. */
static inline long do_touch(long addr, long size, long unused)
{
	long before = minflt();

	(void)unused;
	for (long i = 0; i < size; i += psize)
		peek((void *)(addr + i));
	return minflt() - before;
}

static inline long do_pin(long cpu, long unused, long unused2)
{
	(void)unused;
	(void)unused2;
	return pin(cpu);
}

static inline long do_minflt(long unused, long unused2, long unused3)
{
	(void)unused;
	(void)unused2;
	(void)unused3;
	return minflt();
}

/* Runs a function in a child: what it returned (0 to 255), or SIG(). */
static inline long in_child(peer_fn fn, long a, long b, long c)
{
	pid_t parent = getpid(), pid;
	int status = -1;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(255);
		_exit(fn(a, b, c));
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFSIGNALED(status) ? SIG(WTERMSIG(status)) : WEXITSTATUS(status);
}

/* A process for which somebody else cares. Its pid, or 0 in the child. */
static inline pid_t fork_mortal(void)
{
	pid_t parent = getpid(), pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(255);
	}
	return pid;
}

/* ---------------------------------------------------------------- cgroups */

#define CGROUPS_MAX	8

static char cgroup_root[64];
static char cgroups[CGROUPS_MAX][96];
static int cgroups_used;

static inline int cgroup_set(const char *cgroup, const char *file,
			     const char *fmt, ...)
{
	char path[256], text[64];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	snprintf(path, sizeof(path), "%s/%s", cgroup, file);
	return write_file(path, text);
}

static inline long long cgroup_number(const char *cgroup, const char *file)
{
	char path[256], text[64];

	snprintf(path, sizeof(path), "%s/%s", cgroup, file);
	if (read_file(path, text, sizeof(text)) < 0)
		return -errno;
	return strtoll(text, NULL, 10);
}

static inline long long cgroup_stat(const char *cgroup, const char *file,
				    const char *key)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", cgroup, file);
	return number_after(path, key);
}

/* A new one below another (NULL: the root) that controls memory. */
static inline int cgroup_new(const char *parent, const char **cgroup)
{
	char *path = cgroups[cgroups_used];
	int error;

	if (cgroups_used == CGROUPS_MAX)
		return -ENOSPC;
	if (!cgroup_root[0]) {
		if (!access("/sys/fs/cgroup/cgroup.controllers", F_OK)) {
			strcpy(cgroup_root, "/sys/fs/cgroup");
		} else {
			strcpy(cgroup_root, "/tmp/mshare-cgroup.XXXXXX");
			if (!mkdtemp(cgroup_root) ||
			    mount("none", cgroup_root, "cgroup2", 0, NULL)) {
				error = -errno;
				rmdir(cgroup_root);
				cgroup_root[0] = 0;
				return error;
			}
		}
	}
	if (!parent)
		parent = cgroup_root;
	error = cgroup_set(parent, "cgroup.subtree_control", "+memory");
	if (error)
		return error;
	snprintf(path, sizeof(cgroups[0]), "%s/mshare-%d-%d", parent, getpid(),
		 cgroups_used);
	if (mkdir(path, 0755))
		return -errno;
	cgroups_used++;
	*cgroup = path;
	return 0;
}

static inline int cgroup_enter(const char *cgroup)
{
	return cgroup_set(cgroup, "cgroup.procs", "0");
}

/* Kills what is in it, too. */
static inline int cgroup_remove(const char *cgroup)
{
	/* What was killed is a task until it has been reaped. */
	for (int i = 0; i < 3000; i++) {
		if (!rmdir(cgroup))
			return 0;
		if (errno != EBUSY)
			break;
		cgroup_set(cgroup, "cgroup.kill", "1");
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		usleep(10000);
	}
	return -errno;
}

/* --------------------------------------------------------- disks and swap */

/* A block device in memory; gone when its last user is. Its descriptor. */
static inline int disk_new(size_t size, char *path, size_t path_size)
{
	int control, file, disk, n;

	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		return -errno;
	file = memfd_create("disk", MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, size)) {
		close(control);
		return -errno;
	}
	for (;;) {
		struct loop_config config = {
			.fd = file,
			.block_size = psize,
			.info.lo_flags = LO_FLAGS_AUTOCLEAR,
		};

		n = ioctl(control, LOOP_CTL_GET_FREE);
		if (n < 0)
			break;
		snprintf(path, path_size, "/dev/loop%d", n);
		disk = open(path, O_RDWR | O_CLOEXEC);
		if (disk < 0)
			break;
		if (!ioctl(disk, LOOP_CONFIGURE, &config)) {
			close(control);
			close(file);
			return disk;
		}
		close(disk);
		/* Somebody was quicker. */
		if (errno != EBUSY)
			break;
	}
	n = -errno;
	close(control);
	close(file);
	return n;
}

static inline int run_program(char *const argv[])
{
	pid_t pid = fork_mortal();
	int status = -1;

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		/* ours to prepare, not theirs to catch */
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		execvp(argv[0], argv);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* An ext4 of that size, mounted where there is a directory. */
static inline int ext4_mount(const char *dir, size_t size)
{
	char disk[32];
	char *const argv[] = { "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096",
			       "-m", "0", "-O", "^has_journal,^resize_inode",
			       disk, NULL };
	const char *path = getenv("PATH");
	char with_sbin[4096];
	int fd, error = 0;

	snprintf(with_sbin, sizeof(with_sbin), "%s:/sbin:/usr/sbin",
		 path ? path : "/bin:/usr/bin");
	setenv("PATH", with_sbin, 1);
	fd = disk_new(size, disk, sizeof(disk));
	if (fd < 0)
		return fd;
	if (run_program(argv))
		error = -ENOPKG;
	else if (mount(disk, dir, "ext4", 0, NULL))
		error = -errno;
	close(fd);
	return error;
}

/* ------------------------------------------------------------ environment */

struct env {
	char dir[32];	/* a msharefs */
	char disk[32];	/* an ext4, once somebody has asked for it */
};

static inline int env_mount(const char *dir, const char *options)
{
	return mount("none", dir, "msharefs", 0, options) ? -errno : 0;
}

/* -ENODEV: the kernel has no msharefs; -EPERM: not root. */
static inline int env_enter(struct env *env, const char *options)
{
	int error;

	memset(env, 0, sizeof(*env));
	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -errno;
	strcpy(env->dir, "/tmp/mshare.XXXXXX");
	if (!mkdtemp(env->dir))
		return -errno;
	error = env_mount(env->dir, options);
	if (error)
		rmdir(env->dir);
	return error;
}

/* All that this process has of files below a directory: mappings, descriptors. */
static inline void drop_all(const char *dir)
{
	size_t length = strlen(dir);
	char line[PATH_MAX + 128], target[PATH_MAX];
	struct dirent *entry;
	FILE *maps;
	DIR *fds;
	bool again;

	do {
		again = false;
		maps = fopen("/proc/self/maps", "re");
		while (maps && fgets(line, sizeof(line), maps)) {
			unsigned long start, end;
			char *name = strchr(line, '/');

			if (!name || strncmp(name, dir, length) ||
			    sscanf(line, "%lx-%lx", &start, &end) != 2)
				continue;
			/* The list changes below our feet: begin again. */
			again = !munmap((void *)start, end - start);
			break;
		}
		if (maps)
			fclose(maps);
	} while (again);
	/* Not by trying all numbers: debug kernels take milliseconds for each. */
	fds = opendir("/proc/self/fd");
	while (fds && (entry = readdir(fds))) {
		ssize_t n = readlinkat(dirfd(fds), entry->d_name, target,
				       sizeof(target) - 1);

		if (n < 0)
			continue;
		target[n] = 0;
		if (!strncmp(target, dir, length))
			close(atoi(entry->d_name));
	}
	if (fds)
		closedir(fds);
}

static inline int umount_patiently(const char *dir)
{
	/* What a ring or a socket held is let go of by a worker. */
	for (int i = 0; i < 1000; i++) {
		if (!umount(dir))
			return 0;
		if (errno != EBUSY)
			break;
		usleep(10000);
	}
	return -errno;
}

/*
 * Unmounts, after ending what is in the way as far as the test is to blame.
 * -EBUSY: something is held by nobody we know.
 */
static inline int env_leave(struct env *env)
{
	int error;

	while (peers_used)
		peer_kill(peers[0]);
	drop_all(env->dir);
	error = umount_patiently(env->dir);
	rmdir(env->dir);
	if (env->disk[0]) {
		drop_all(env->disk);
		if (umount_patiently(env->disk) && !error)
			error = -EBUSY;
		rmdir(env->disk);
	}
	while (cgroups_used) {
		int e = cgroup_remove(cgroups[--cgroups_used]);

		/* The test may have removed it. */
		if (e && e != -ENOENT && !error)
			error = e;
	}
	return error;
}

/* To be put in FIXTURE_SETUP and FIXTURE_TEARDOWN. */
#define ENV_ENTER(env, options) do { \
	int __error = env_enter(env, options); \
	\
	if (__error == -ENODEV) \
		SKIP(return, "the kernel has no msharefs"); \
	if (__error == -EPERM) \
		SKIP(return, "only root can mount"); \
	ASSERT_EQ(0, __error); \
} while (0)

#define ENV_LEAVE(env)	EXPECT_EQ(0, env_leave(env))

static inline int env_ext4(struct env *env, size_t size)
{
	int error;

	strcpy(env->disk, "/tmp/mshare.XXXXXX");
	if (!mkdtemp(env->disk))
		return -errno;
	error = ext4_mount(env->disk, size);
	if (error) {
		rmdir(env->disk);
		env->disk[0] = 0;
	}
	return error;
}

/* ---------------------------------------------------------------- backing */

/* What a mapping inside a region can be of. */
enum backing_kind {
	ANONYMOUS,
	MEMFD,
	EXT4,
};

/*
 * A file of that kind and size (-1 for memory without a file), or -errno.
 * -ENOPKG: mke2fs is not there.
 */
static inline int backing_new(struct env *env, enum backing_kind kind,
			      size_t size)
{
	int fd = -1, error;

	switch (kind) {
	case ANONYMOUS:
		return -1;
	case MEMFD:
		fd = memfd_create("backing", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		break;
	case EXT4:
		if (!env->disk[0]) {
			/* Room for what the file system wants for itself. */
			error = env_ext4(env, size + size / 4 + 16 * MIB);
			if (error)
				return error;
		}
		fd = open(env->disk, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		break;
	}
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, size)) {
		error = -errno;
		close(fd);
		return error;
	}
	return fd;
}

static inline int backing_map(int fd, uint64_t offset, uint64_t size, int prot,
			      int backing, uint64_t backing_offset)
{
	if (backing == -1)
		return region_map(fd, offset, size, prot);
	return region_map_file(fd, offset, size, prot, backing, backing_offset);
}

#define BACKING_NEW(fd, env, kind, size) do { \
	fd = backing_new(env, kind, size); \
	if (fd == -ENOPKG) \
		SKIP_REST(return, "no mke2fs, or it fails"); \
	if (kind != ANONYMOUS) \
		ASSERT_LE(0, fd); \
} while (0)

/* --------------------------------------------------------------- io_uring */

struct uring {
	int fd;
	struct io_uring_params params;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
};

static inline int uring_new(struct uring *ring)
{
	memset(ring, 0, sizeof(*ring));
	ring->fd = syscall(__NR_io_uring_setup, 4, &ring->params);
	if (ring->fd < 0)
		return -errno;
	ring->sq = mmap(NULL, ring->params.sq_off.array + 4 * sizeof(unsigned int),
			RW, MAP_SHARED | MAP_POPULATE, ring->fd,
			IORING_OFF_SQ_RING);
	ring->cq = mmap(NULL, ring->params.cq_off.cqes +
			ring->params.cq_entries * sizeof(struct io_uring_cqe),
			RW, MAP_SHARED | MAP_POPULATE, ring->fd,
			IORING_OFF_CQ_RING);
	ring->sqes = mmap(NULL, 4 * sizeof(struct io_uring_sqe), RW,
			  MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
	if (ring->sq == MAP_FAILED || ring->cq == MAP_FAILED ||
	    ring->sqes == MAP_FAILED)
		return -errno;
	return 0;
}

/* Submits one and waits for it: its result. */
static inline int uring_do(struct uring *ring, const struct io_uring_sqe *sqe)
{
	_Atomic unsigned int *sq_tail = (void *)(ring->sq + ring->params.sq_off.tail);
	_Atomic unsigned int *cq_head = (void *)(ring->cq + ring->params.cq_off.head);
	unsigned int *array = (void *)(ring->sq + ring->params.sq_off.array);
	struct io_uring_cqe *cqes = (void *)(ring->cq + ring->params.cq_off.cqes);
	unsigned int tail = *sq_tail & (ring->params.sq_entries - 1), head;
	int result;

	ring->sqes[tail] = *sqe;
	array[tail] = tail;
	(*sq_tail)++;
	while (syscall(__NR_io_uring_enter, ring->fd, 1, 1,
		       IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		if (errno != EINTR)
			return -errno;
	head = *cq_head & (ring->params.cq_entries - 1);
	result = cqes[head].res;
	(*cq_head)++;
	return result;
}

/* Registered, hence pinned for long. */
static inline int uring_buffer(struct uring *ring, void *addr, size_t size)
{
	struct iovec iov = { .iov_base = addr, .iov_len = size };

	return syscall(__NR_io_uring_register, ring->fd, IORING_REGISTER_BUFFERS,
		       &iov, 1) ? -errno : 0;
}

static inline void uring_close(struct uring *ring)
{
	munmap(ring->sq, ring->params.sq_off.array + 4 * sizeof(unsigned int));
	munmap(ring->cq, ring->params.cq_off.cqes +
	       ring->params.cq_entries * sizeof(struct io_uring_cqe));
	munmap(ring->sqes, 4 * sizeof(struct io_uring_sqe));
	close(ring->fd);
}

/* ------------------------------------------------------------------ debug */

#define NO_FLUSH	"/sys/kernel/debug/mshare/no_flush"

static inline void debugfs_mount(void)
{
	if (access("/sys/kernel/debug/mshare", F_OK))
		mount("none", "/sys/kernel/debug", "debugfs", 0, NULL);
}

/* Of the whole machine; -ENOENT without CONFIG_MSHARE_DEBUG. */
static inline long debug_count(const char *what)
{
	char path[64], text[32];
	long n;

	snprintf(path, sizeof(path), "/sys/kernel/debug/mshare/%s", what);
	n = read_file(path, text, sizeof(text));
	return n < 0 ? n : strtol(text, NULL, 10);
}

#endif /* MSHARE_TEST_H */
