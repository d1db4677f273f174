// SPDX-License-Identifier: MIT
/*
 * What the shim does with calls that preload_same.c, which leaves each call in
 * one area and looks at no counts, says nothing about: how much is shared, calls
 * across the ends of an area, children of all kinds, threads, signals, limits.
 * Every check is one that holds without the shim as well, so that the program
 * runs with and without it, and says whether page tables were shared.
 */
#include "preload_util.h"

#include <pthread.h>
#include <spawn.h>
#include <sys/shm.h>
#include <sys/time.h>

#define SIZE (256 * KIB)

static bool shimmed; /* there is a shim, and it has something to work with */

static char *area_new(size_t size)
{
	char *at = mmap(NULL, size, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	must(at != MAP_FAILED);
	return at;
}

static void fill(char *at, size_t size, uint64_t seed)
{
	for (size_t i = 0; i < size; i += page())
		*(uint64_t *)(at + i) = seed + i;
}

static bool filled(const char *at, size_t size, uint64_t seed)
{
	for (size_t i = 0; i < size; i += page())
		if (*(const volatile uint64_t *)(at + i) != seed + i)
			return false;
	return true;
}

static long minor_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

static size_t lines_of_maps(void)
{
	char text[1 << 16];
	size_t lines = 0;
	ssize_t n;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	must(fd >= 0);
	while ((n = read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < n; i++)
			lines += text[i] == '\n';
	close(fd);
	return lines;
}

/* Run it in a child; whether that ended well. */
static bool good_in_child(bool (*f)(char *), char *at)
{
	pid_t pid = fork();
	int status;

	must(pid >= 0);
	if (!pid)
		_exit(f(at) ? 0 : 1);
	must(waitpid(pid, &status, 0) == pid);
	return status == 0;
}

static bool few_faults(char *at)
{
	long before = minor_faults();

	return filled(at, 16 * MIB, 1) && minor_faults() - before < 64;
}

static void sharing(void)
{
	size_t lines = lines_of_maps();
	char *at = area_new(16 * MIB);
	bool few;

	fill(at, 16 * MIB, 1);
	few = good_in_child(few_faults, at);
	check(few || !shimmed, "a child finds the page tables filled, if they are shared");
	check(munmap(at, 16 * MIB) == 0, "munmap");
	check(load(at, NULL) == SIGSEGV, "nothing is there then");
	check_eq(lines_of_maps(), lines, "and nothing is left in the address space");
}

static bool changes_its_own(char *at)
{
	if (mprotect(at, page(), PROT_READ) || store(at, 1) != SIGSEGV)
		return false;
	if (munmap(at + page(), page()) || load(at + page(), NULL) != SIGSEGV)
		return false;
	if (mmap(at + 2 * page(), page(), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
	    at + 2 * page())
		return false;
	return store(at + 2 * page(), 77) == 0 && store(at + 3 * page(), 78) == 0;
}

static bool unmaps_all(char *at)
{
	return munmap(at, SIZE) == 0 && load(at, NULL) == SIGSEGV;
}

static void views(void)
{
	char *at = area_new(SIZE);

	fill(at, SIZE, 5);
	check(good_in_child(changes_its_own, at), "a child changes its view");
	check(store(at, 5) == 0 && value_at(at + page()) == 5 + page() &&
		      value_at(at + 2 * page()) == 5 + 2 * page(),
	      "this one's is what it was");
	check_eq(value_at(at + 3 * page()), 78, "and the memory is shared still");
	check(good_in_child(unmaps_all, at), "a child unmaps all of it");
	check_eq(value_at(at + 3 * page()), 78, "and it is there for its parent");
	check(mprotect(at, SIZE, PROT_READ) == 0 && store(at, 1) == SIGSEGV, "read-only here");
	check(mprotect(at, SIZE, RW) == 0 && store(at, 1) == 0, "and writable again");
	check(munmap(at, SIZE) == 0, "munmap");
}

static void ends(void)
{
	char *at = area_new(SIZE), *hole;
	unsigned char vec[SIZE / 4096 + 1];

	memset(vec, 2, sizeof(vec));
	store(at + page(), 1);
	check(mincore(at, SIZE, vec) == 0 && vec[1] & 1 && !(vec[SIZE / page() - 1] & 1),
	      "mincore() knows what has been touched");
	/* A page to the end: whatever comes after is not this area's. */
	check(munmap(at + SIZE - page(), page()) == 0, "the last page is unmapped");
	check(load(at + SIZE - page(), NULL) == SIGSEGV, "and gone");
	errno = 0;
	check(mprotect(at + SIZE - 2 * page(), 2 * page(), PROT_READ) == -1 && errno == ENOMEM,
	      "mprotect() across the end: ENOMEM");
	errno = 0;
	check(madvise(at + SIZE - 2 * page(), 2 * page(), MADV_WILLNEED) == -1 && errno == ENOMEM,
	      "madvise() across the end: ENOMEM");
	errno = 0;
	check(mincore(at + SIZE - 2 * page(), 2 * page(), vec) == -1 && errno == ENOMEM,
	      "mincore() across the end: ENOMEM");
	errno = 0;
	check(msync(at + SIZE - 2 * page(), 2 * page(), MS_SYNC) == -1 && errno == ENOMEM,
	      "msync() across the end: ENOMEM");
	munmap(at, SIZE);

	/* Something of the program's own directly behind it. */
	at = area_new(SIZE);
	munmap(at + SIZE / 2, SIZE / 2);
	hole = mmap(at + SIZE / 2, page(), RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		    -1, 0);
	check(hole == at + SIZE / 2, "what was unmapped is free for others");
	store(hole, 3);
	check(munmap(at, SIZE / 2) == 0 && value_at(hole) == 3, "who are left alone");
	munmap(hole, page());

	/* From before it to behind it. */
	hole = mmap(NULL, 3 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(hole != MAP_FAILED);
	at = mremap(area_new(SIZE), SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, hole + SIZE);
	check(at == hole + SIZE && store(at, 9) == 0, "it is moved among others");
	check(munmap(hole, 3 * SIZE) == 0 && load(at, NULL) == SIGSEGV, "and unmapped with them");
	at = area_new(SIZE);
	errno = 0;
	check(munmap(at + 1, SIZE) == -1 && errno == EINVAL, "unaligned: EINVAL");
	errno = 0;
	check(munmap(at, 0) == -1 && errno == EINVAL, "no length: EINVAL");
	check(munmap(at, SIZE - 1) == 0 && load(at + SIZE - page(), NULL) == SIGSEGV,
	      "a length is rounded up");
}

static void moves(void)
{
	char *at = area_new(SIZE), *to, *twin;

	fill(at, SIZE, 3);
	twin = mremap(at, 0, SIZE, MREMAP_MAYMOVE);
	check(twin != MAP_FAILED && filled(twin, SIZE, 3), "mremap(): once more");
	store(twin, 99);
	check_eq(value_at(at), 99, "the same memory");
	store(twin, 3);
	to = mremap(at, SIZE, 2 * SIZE, MREMAP_MAYMOVE);
	check(to != MAP_FAILED && filled(to, SIZE, 3), "mremap(): larger");
	check(load(to + SIZE, NULL) == SIGBUS, "beyond the memory: SIGBUS");
	check(munmap(to, 2 * SIZE) == 0 && filled(twin, SIZE, 3) && munmap(twin, SIZE) == 0,
	      "and unmapped");
}

static bool sees_and_adds(char *at)
{
	if (!filled(at, SIZE, 4) || store(at, 40))
		return false;
	return shmdt(at) == 0 && load(at, NULL) == SIGSEGV;
}

static unsigned long attached(int id)
{
	struct shmid_ds ds;

	return shmctl(id, IPC_STAT, &ds) == 0 ? ds.shm_nattch : 999;
}

static void segments(void)
{
	int id = shmget(IPC_PRIVATE, SIZE, 0600), status;
	size_t lines = lines_of_maps();
	char *at, *other;
	pid_t pid;

	must(id >= 0);
	at = shmat(id, NULL, 0);
	must(at != (void *)-1);
	check_eq(attached(id), 1, "System V: attached once");
	fill(at, SIZE, 4);
	other = shmat(id, NULL, SHM_RDONLY);
	check(filled(other, SIZE, 4) && store(other, 1) == SIGSEGV, "and read-only");
	check_eq(attached(id), 2, "that is twice");
	check(shmdt(other) == 0, "shmdt of the second");
	/* By number, as anybody could. */
	check(good_in_child(sees_and_adds, at), "a child has it, and detaches");
	check_eq(value_at(at), 40, "what it wrote is there");
	check_eq(attached(id), 1, "it does not count any more");
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	check_eq(attached(id), 2, "a child counts");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	check_eq(attached(id), 1, "while it lives");
	check(mprotect(at, page(), PROT_READ) == 0 && store(at, 1) == SIGSEGV,
	      "mprotect() of a page of it");
	check_eq(attached(id), 2, "which makes it two mappings");
	check(shmctl(id, IPC_RMID, NULL) == 0, "removed");
	check(shmdt(at) == 0 && load(at, NULL) == SIGSEGV, "shmdt");
	check_eq(attached(id), 999, "and with the last one it is gone");
	check_eq(lines_of_maps(), lines, "and nothing is left in the address space");
	errno = 0;
	check(shmdt(at) == -1 && errno == EINVAL, "shmdt of nothing: EINVAL");
}

/* ---- children of all kinds ----------------------------------------------- */

static void children(void)
{
	char *at = area_new(SIZE), *command[] = {"/bin/true", NULL};
	int status;
	pid_t pid;

	fill(at, SIZE, 6);
	check(posix_spawn(&pid, command[0], NULL, NULL, command, environ) == 0 &&
		      waitpid(pid, &status, 0) == pid && status == 0,
	      "posix_spawn");
	pid = vfork();
	if (!pid)
		_exit(0);
	check(waitpid(pid, &status, 0) == pid && status == 0, "vfork");
	pid = vfork();
	if (!pid) {
		execv(command[0], command);
		_exit(1);
	}
	check(waitpid(pid, &status, 0) == pid && status == 0, "vfork and exec");
	/* No fork handlers. */
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (!pid) {
		bool good = filled(at, SIZE, 6) && mprotect(at, page(), PROT_READ) == 0 &&
			    store(at, 1) == SIGSEGV;
		char *mine = area_new(SIZE);

		fill(mine, SIZE, 7);
		good = good && filled(mine, SIZE, 7) && munmap(mine, SIZE) == 0 &&
		       munmap(at, SIZE) == 0;
		_exit(!good);
	}
	check(waitpid(pid, &status, 0) == pid && status == 0, "a child of clone() alone");
	check(filled(at, SIZE, 6) && store(at, 6) == 0, "its parent is as it was");
	munmap(at, SIZE);
}

/* ---- threads and signals ------------------------------------------------- */

static _Atomic(int) go_on;
static _Atomic(long) rounds, failures;

static void *maps_and_unmaps(void *unused)
{
	unsigned int n = 0;

	while (go_on) {
		char *at = area_new(SIZE);

		fill(at, SIZE, 8);
		if (n % 3 == 1 && mprotect(at, page(), PROT_READ))
			failures++;
		if (!filled(at, SIZE, 8))
			failures++;
		if (n % 3 == 2 && munmap(at + SIZE / 2, page()))
			failures++;
		if (munmap(at, SIZE))
			failures++;
		n++;
		rounds++;
	}
	return unused;
}

static char *from_handler;

static void on_alarm(int signal)
{
	char *at = area_new(SIZE);

	(void)signal;
	at[0] = 1;
	if (munmap(at, SIZE))
		failures++;
	from_handler = at;
}

static void threads(void)
{
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, old;
	/* Once: on a slow machine a handler that comes again and again lets nothing else happen. */
	struct itimerval soon = {{0, 0}, {0, 3000}}, never = {{0, 0}, {0, 0}};
	pthread_t ids[3];
	char *at = area_new(SIZE);
	int bad = 0;

	fill(at, SIZE, 9);
	go_on = 1;
	for (int i = 0; i < 3; i++)
		must(pthread_create(&ids[i], NULL, maps_and_unmaps, NULL) == 0);
	sigaction(SIGALRM, &action, &old);
	for (int i = 0; i < 30 || rounds < 60; i++) {
		pid_t pid;
		int status;

		setitimer(ITIMER_REAL, &soon, NULL);
		pid = fork();
		if (!pid) {
			char *mine = area_new(SIZE);
			bool good;

			fill(mine, SIZE, 10);
			good = filled(at, SIZE, 9) && filled(mine, SIZE, 10) &&
			       mprotect(at, SIZE, PROT_READ) == 0 && munmap(mine, SIZE) == 0;
			_exit(!good);
		}
		while (waitpid(pid, &status, 0) == -1)
			;
		bad += status != 0;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	go_on = 0;
	for (int i = 0; i < 3; i++)
		pthread_join(ids[i], NULL);
	sigaction(SIGALRM, &old, NULL);
	note("%ld rounds of three threads, %s", (long)rounds,
	     from_handler ? "interrupted by a handler" : "not interrupted");
	check_eq(failures, 0, "threads and a signal handler map and unmap");
	check_eq(bad, 0, "while children are made");
	check(filled(at, SIZE, 9) && munmap(at, SIZE) == 0, "and the rest is as it was");
}

/* A thread reads and writes an area that is given up again and again, and never misses it. */
static char *contended;

static void *touches(void *unused)
{
	uint64_t n = 0;

	while (go_on) {
		*(volatile uint64_t *)(contended + 8 * page()) = ++n;
		if (*(volatile uint64_t *)(contended + 8 * page()) != n)
			failures++;
	}
	return unused;
}

static void under_a_thread(void)
{
	failures = 0;
	for (int i = 0; i < 20; i++) {
		pthread_t id;

		contended = area_new(SIZE);
		go_on = 1;
		must(pthread_create(&id, NULL, touches, NULL) == 0);
		usleep(2000);
		must(mprotect(contended, page(), PROT_READ) == 0);
		usleep(1000);
		go_on = 0;
		pthread_join(id, NULL);
		munmap(contended, SIZE);
	}
	check_eq(failures, 0, "a thread that uses an area does not notice that it is given up");
}

/* ---- limits and leftovers ------------------------------------------------ */

static bool limited(char *unused)
{
	struct rlimit limit = {600 * MIB, 600 * MIB};
	char *at;

	(void)unused;
	if (setrlimit(RLIMIT_AS, &limit))
		return false;
	at = mmap(NULL, SIZE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return at != MAP_FAILED && store(at, 1) == 0 &&
	       mmap(NULL, GIB, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED &&
	       errno == ENOMEM && munmap(at, SIZE) == 0;
}

static bool no_descriptors(char *unused)
{
	struct rlimit limit = {3, 3};
	char *at;

	(void)unused;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		return false;
	errno = 77;
	at = area_new(SIZE);
	return errno == 77 && store(at, 1) == 0 && munmap(at, SIZE) == 0;
}

static bool locked(char *unused)
{
	char *before = area_new(SIZE), *at;

	(void)unused;
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		return errno == ENOMEM || errno == EPERM;
	at = area_new(SIZE);
	return store(before, 1) == 0 && store(at, 1) == 0 && munlockall() == 0 &&
	       munmap(before, SIZE) == 0 && munmap(at, SIZE) == 0;
}

static bool no_more_descriptors(char *at)
{
	/* As daemons do. */
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	return filled(at, SIZE, 2) && mprotect(at, page(), PROT_READ) == 0 &&
	       store(at, 1) == SIGSEGV && store(at + page(), 2 + page()) == 0;
}

static bool another_root(char *at)
{
	char *mine;

	if (chroot("/proc") || chdir("/"))
		return errno == EPERM;
	mine = area_new(SIZE);
	return store(mine, 1) == 0 && munmap(mine, SIZE) == 0 && filled(at, SIZE, 2);
}

static bool small_files(char *unused)
{
	struct rlimit limit = {MIB, MIB};
	char *at;

	(void)unused;
	if (setrlimit(RLIMIT_FSIZE, &limit))
		return false;
	at = area_new(16 * MIB);
	return store(at, 1) == 0 && munmap(at, 16 * MIB) == 0;
}

/* Descriptor 0 is free when the shim opens its log. */
static bool without_stdin(char *unused)
{
	(void)unused;
	close(0);
	munmap(area_new(SIZE), SIZE);
	return open("/dev/null", O_RDONLY) == 0;
}

/* mmap() is no cancellation point. */
static void *cancelled(void *at)
{
	pthread_cancel(pthread_self());
	*(char **)at = area_new(SIZE);
	pthread_testcancel();
	return NULL;
}

static void not_cancelled(void)
{
	char *at = NULL;
	pthread_t id;
	void *end;

	must(pthread_create(&id, NULL, cancelled, &at) == 0);
	pthread_join(id, &end);
	check(end == PTHREAD_CANCELED && at && store(at, 1) == 0,
	      "a thread is cancelled afterwards");
	check(munmap(at, SIZE) == 0, "and holds no lock");
}

static void others(void)
{
	char *at = area_new(SIZE), *hole;
	int id = shmget(IPC_PRIVATE, SIZE, 0600);

	fill(at, SIZE, 1);
	hole = shmat(id, at, SHM_REMAP);
	check(hole == at && value_at(at) == 0, "a segment is put over it");
	check(mprotect(at, page(), PROT_READ) == 0 && value_at(at + page()) == 0,
	      "and stays there");
	check(shmdt(at) == 0 && shmctl(id, IPC_RMID, NULL) == 0, "until it is detached");

	at = area_new(SIZE);
	errno = 0;
	hole = mremap(at, SIZE, SIZE, MREMAP_FIXED, at);
	check(hole == MAP_FAILED && errno == EINVAL, "mremap() without MREMAP_MAYMOVE: EINVAL");
	errno = 0;
	check(setrlimit(RLIMIT_AS, (struct rlimit *)8) == -1 && errno == EFAULT,
	      "a bad limit: EFAULT");
	munmap(at, SIZE);
}

static void limits(void)
{
	char *at = area_new(SIZE), *many[100];
	int next, fd = dup(0);

	fill(at, SIZE, 2);
	check(good_in_child(limited, NULL), "RLIMIT_AS is for what the program maps");
	check(good_in_child(no_descriptors, NULL), "no descriptors to be had, and errno as it was");
	check(good_in_child(locked, NULL), "mlockall()");
	check(good_in_child(small_files, NULL), "RLIMIT_FSIZE is for files");
	check(good_in_child(without_stdin, NULL), "descriptor 0 is the program's");
	check(good_in_child(no_more_descriptors, at), "all descriptors closed");
	check(good_in_child(another_root, at), "in a chroot");
	for (int i = 0; i < 100; i++) {
		many[i] = area_new(SIZE);
		store(many[i], (uint64_t)i);
	}
	for (int i = 0; i < 100; i++)
		failures += value_at(many[i]) != (uint64_t)i || munmap(many[i], SIZE) != 0;
	check_eq(failures, 0, "more areas than there are places for");
	next = dup(0);
	check_eq(next, fd + 1, "no descriptor is taken from the program");
	close(next);
	close(fd);
	errno = 0;
	check(mmap(NULL, 0, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EINVAL,
	      "no length: EINVAL");
	errno = 0;
	check(mmap(NULL, (size_t)1 << 60, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED &&
		      errno == ENOMEM,
	      "more than there can be: ENOMEM");
	munmap(at, SIZE);
}

static void everything(void)
{
	sharing();
	views();
	ends();
	moves();
	segments();
	children();
	threads();
	under_a_thread();
	not_cancelled();
	others();
	limits();
}

int main(int argc, char **argv)
{
	bool can = backend().backend == MSHARE_BACKEND_MSHAREFS;
	int plain, with, shared;
	char *out;

	begin(argc, argv);
	probe_prepare();
	if (argc == 3) {
		/* The checks are this process' own. */
		tap.pid = getpid();
		shimmed = atoi(argv[2]);
		everything();
		return done();
	}
	plain = run_self(false, "--all", 0, &out);
	check(plain == 0, "without the shim");
	if (plain)
		say("%s", out);
	free(out);
	with = run_self(true, "--all", can, &out);
	check(with == 0, "with it");
	if (with)
		say("%s", out);
	free(out);
	shared = preload_said("share page tables");
	note("%d areas shared page tables, %d were given up", shared,
	     preload_said("of their own now"));
	check(can ? shared > 100 : shared == 0, "page tables were shared where they can be");
	unlink(preload_log());
	return done();
}
