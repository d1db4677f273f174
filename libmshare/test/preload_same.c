// SPDX-License-Identifier: MIT
/*
 * The shim changes nothing that a program can see: the same random calls, with it
 * and without it, in this process and in children, give the same results, the
 * same errno, the same memory, and the same permissions in /proc/self/maps.
 *
 * Where addresses may end up next to one another is the kernel's business and
 * another each time. So all calls stay within one area (a little is left to them
 * below, in preload_calls), and nothing else is mapped meanwhile.
 */
#include "preload_util.h"

#include <sys/shm.h>

#define PAGES 32
#define ROUNDS 60

static char *area;
/* Where mremap() may put things. */
static char *landing;
static uint64_t state;
static char line[4096];
static int used;

static uint32_t any(uint32_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 33) % n;
}

__attribute__((format(printf, 1, 2))) static void put(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	used += vsnprintf(line + used, sizeof(line) - (size_t)used, format, args);
	va_end(args);
	if (used >= (int)sizeof(line))
		used = sizeof(line) - 1;
}

static void flush(void)
{
	if (write(STDOUT_FILENO, line, (size_t)used) != used)
		_exit(1);
	used = 0;
}

/* What /proc/self/maps has of the area: r, w, x, p or s a page; and a hash of what can be read. */
static void look(const char *from)
{
	static char maps[1 << 18], perms[PAGES][5];
	char *text = maps;
	uint64_t hash = 1469598103934665603u;
	ssize_t n, length = 0;
	int fd = open("/proc/self/maps", O_RDONLY);

	while ((n = read(fd, maps + length, sizeof(maps) - 1 - (size_t)length)) > 0)
		length += n;
	maps[length] = 0;
	close(fd);
	for (int i = 0; i < PAGES; i++)
		strcpy(perms[i], "----");
	while (*text) {
		char *end;
		uintptr_t start = strtoul(text, &end, 16), stop = strtoul(end + 1, &end, 16);

		for (int i = 0; i < PAGES; i++) {
			uintptr_t at = (uintptr_t)from + (size_t)i * page();

			if (at >= start && at < stop)
				memcpy(perms[i], end + 1, 4);
		}
		text = strchr(text, '\n') + 1;
	}
	put(" |");
	for (int i = 0; i < PAGES; i++) {
		uint64_t value = 0;
		int sig = load(from + (size_t)i * page() + 8, &value);

		put(" %.4s", perms[i]);
		if (sig)
			put("!%d", sig);
		hash = (hash ^ value) * 1099511628211u;
	}
	put(" | %016llx\n", (unsigned long long)hash);
	flush();
}

static void result(const char *name, long r)
{
	put("%s = %ld %s", name, r, r == -1 ? strerrorname_np(errno) : "");
}

/* An address as a result: where in the area, or in the landing. */
static void address(const char *name, char *at)
{
	if (at == MAP_FAILED)
		put("%s = %s", name, strerrorname_np(errno));
	else if (at >= area && at < area + PAGES * page())
		put("%s = area + %zu", name, (size_t)(at - area) / page());
	else if (at >= landing && at < landing + PAGES * page())
		put("%s = landing + %zu", name, (size_t)(at - landing) / page());
	else
		put("%s = elsewhere", name);
}

static void one_call(void)
{
	static const int prots[] = {PROT_NONE,      PROT_READ, RW, RW, PROT_READ | PROT_EXEC,
				    RW | PROT_EXEC, 0x100};
	/* Not those which make pages bad, nor MADV_COLLAPSE, which asks where huge pages fit. */
	static const int advices[] = {0,  1,  2,  3,  4,  8,  9,  10, 11, 12, 13,
				      14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 99};
	static unsigned char vec[PAGES];
	uint32_t first = any(PAGES), n = 1 + any(any(2) ? 4 : PAGES);
	uint32_t what = any(24), extra = any(1000);
	int prot = prots[any(7)], advice = advices[any(22)];
	char *at = area + (size_t)first * page(), *to, buffer[64] = "abcdefg";
	size_t length;
	long r;

	if (n > PAGES - first)
		n = PAGES - first;
	if (any(8) == 0) {
		first = 0;
		at = area;
		n = PAGES;
	}
	length = (size_t)n * page();
	/* Wrong ones, too. */
	if (extra < 20)
		at += 64;
	else if (extra < 40)
		length = 0;
	else if (extra < 80)
		length -= 100;
	put("%u+%u: ", first, n);
	errno = 0;
	switch (what) {
	case 0:
	case 1:
		result("mprotect", mprotect(at, length, prot));
		break;
	case 2:
		result("munmap", munmap(at, length));
		break;
	case 3:
	case 4:
	case 5:
		put("%d ", advice);
		result("madvise", madvise(at, length, advice));
		break;
	case 6:
		/* What it finds depends on the state of lists in the kernel: preload_calls. */
		result("mincore", mincore(at, length, vec));
		break;
	case 7:
		r = any(8);
		put("%ld ", r);
		result("msync", msync(at, length, (int)r));
		break;
	case 8:
		result("mlock", mlock(at, length));
		break;
	case 9:
		result("munlock", munlock(at, length));
		break;
	case 10:
		address("mremap, smaller", mremap(at, length, page(), 0));
		break;
	case 11:
		address("mremap, away",
			mremap(at, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, landing));
		break;
	case 12:
		address("mremap, once more",
			mremap(at, 0, length, MREMAP_MAYMOVE | MREMAP_FIXED, landing));
		break;
	case 13:
		address("mmap private",
			mmap(at, length, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		break;
	case 14:
		address("mmap, nothing replaced",
			mmap(at, length, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
			     0));
		break;
	case 15:
		put("%d ", advice % 6);
		result("posix_madvise", posix_madvise(at, length, advice % 6));
		break;
	case 16:
		result("pkey_mprotect", pkey_mprotect(at, length, prot, -1));
		break;
	case 17:
		result("remap_file_pages", remap_file_pages(at, length, 0, any(PAGES), 0));
		break;
	case 18: {
		int ends[2];

		must(pipe(ends) == 0);
		must(write(ends[1], buffer, 8) == 8);
		result("read", read(ends[0], at, 8));
		must(write(ends[1], buffer, 8) == 8);
		result("write", write(ends[1], at, 8));
		close(ends[0]);
		close(ends[1]);
		break;
	}
	case 19: {
		struct iovec here = {buffer, sizeof(buffer)}, there = {at, sizeof(buffer)};

		result("process_vm_readv", process_vm_readv(getpid(), &here, 1, &there, 1, 0));
		break;
	}
	case 20:
		result("syscall mprotect", syscall(SYS_mprotect, at, length, prot));
		break;
	case 21:
		result("syscall mbind", syscall(SYS_mbind, at, length, any(4), NULL, 0, any(4)));
		break;
	case 22:
		to = (char *)syscall(SYS_mremap, at, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
				     landing);
		address("syscall mremap", to);
		break;
	default:
		put("store %u", extra);
		for (uint32_t i = 0; i < n; i++)
			put(" %d", store(area + (first + i) * page() + 8, extra));
		break;
	}
}

static void calls(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		/* In a child it is the child's view alone, and everybody's memory. */
		if (any(4) == 0) {
			pid_t pid = fork();

			must(pid >= 0);
			if (!pid) {
				for (uint32_t j = 1 + any(3); j > 0; j--) {
					put("child %d, ", i);
					one_call();
					look(area);
				}
				_exit(0);
			}
			must(waitpid(pid, NULL, 0) == pid);
			state += 12345;
			put("%d, after a child", i);
		} else {
			put("%d, ", i);
			one_call();
		}
		look(area);
	}
}

/* Memory of one kind, calls, the end; several times. */
static void stress(unsigned int seed)
{
	int id = -1;

	probe_prepare();
	state = seed * 2654435761u + 88172645463325252u;
	for (int i = 0; i < 10; i++)
		any(1);
	landing = mmap(NULL, PAGES * page(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);
	must(landing != MAP_FAILED);
	if (seed % 4 == 3) {
		struct shmid_ds ds;

		id = shmget(IPC_PRIVATE, PAGES * page(), 0600);
		must(id >= 0);
		area = shmat(id, NULL, 0);
		must(area != (void *)-1);
		must(shmctl(id, IPC_RMID, NULL) == 0);
		calls();
		/* It has gone if nothing of it is mapped any more. */
		result("IPC_STAT", shmctl(id, IPC_STAT, &ds));
		put(", attached %lu times",
		    shmctl(id, IPC_STAT, &ds) ? 0 : (unsigned long)ds.shm_nattch);
		result(", shmdt", shmdt(area));
	} else {
		int more = seed % 4 == 1 ? MAP_POPULATE : seed % 4 == 2 ? MAP_NORESERVE : 0;

		area = mmap(NULL, PAGES * page(), RW, MAP_SHARED | MAP_ANONYMOUS | more, -1, 0);
		must(area != MAP_FAILED);
		calls();
		result("munmap", munmap(area, PAGES * page()));
	}
	look(area);
	/* What is left of it, if shmdt() found nothing at its start. */
	munmap(area, PAGES * page());
}

int main(int argc, char **argv)
{
	int seeds = 24, shared;
	bool can = backend().backend == MSHARE_BACKEND_MSHAREFS;

	begin(argc, argv);
	if (argc == 3) {
		tap.pid = getpid();
		stress((unsigned int)atoi(argv[2]));
		return 0;
	}
	for (int seed = 1; seed <= seeds; seed++) {
		char *plain, *shimmed;
		const char *difference;
		int a = run_self(false, "--stress", (unsigned int)seed, &plain);
		int b = run_self(true, "--stress", (unsigned int)seed, &shimmed);

		difference = first_difference(plain, shimmed);
		if (difference)
			note("%s", difference);
		check(a == 0 && b == 0 && !difference && strlen(plain) > 100 * ROUNDS,
		      "seed %d: the same, in %zu bytes of report", seed, strlen(plain));
		free(plain);
		free(shimmed);
	}
	/* And it was the shim that was tried, where it can do something. */
	shared = preload_said("share page tables");
	note("%d areas shared page tables, %d were given up", shared,
	     preload_said("of their own now"));
	if (can) {
		check_eq(shared, seeds, "each area began with shared page tables");
		check(preload_said("of their own now") > seeds / 2, "some were given up");
	} else {
		check_eq(shared, 0, "no area has shared page tables where there is no msharefs");
	}
	unlink(preload_log());
	return done();
}
