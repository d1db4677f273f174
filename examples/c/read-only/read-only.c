// SPDX-License-Identifier: MIT
/*
 * A reader that cannot write, whatever it tries.
 *
 * The owner makes a region, writes to it, and hands a child a descriptor that is
 * open read-only. The child attaches, reads, and tries every way in that we know;
 * the owner then tries to write through the child's view from outside. Run by
 * root, the child is user 65534: rights on a region are rights on a file, and
 * the owner of a file, or root, can always give himself back what he took away.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <mshare.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define WINDOW ((size_t)1 << 30)
#define LENGTH ((size_t)64 << 10)
#define NOBODY 65534

static const char original[] = "what the owner wrote";
static const char graffiti[] = "what the reader wrote";

/* What an attempt returns: 0, it went through; an errno; or FAULT. */
#define FAULT (-1)
#define RESULT(call) ((call) < 0 ? errno : 0)

static sigjmp_buf fault;
static char *view; /* the reader's attachment */
static int fd;     /* its descriptor */

static void on_fault(int signal)
{
	(void)signal;
	siglongjmp(fault, 1);
}

static int by_store(void)
{
	if (sigsetjmp(fault, 1) != 0)
		return FAULT;
	*(volatile char *)view = graffiti[0];
	return 0;
}

static int by_atomic_add(void)
{
	if (sigsetjmp(fault, 1) != 0)
		return FAULT;
	__atomic_fetch_add(view, 1, __ATOMIC_SEQ_CST);
	return 0;
}

static int by_read(void)
{
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	int result = zero < 0 ? errno : RESULT(read(zero, view, 8));

	close(zero);
	return result;
}

static int by_pipe(bool vm)
{
	struct iovec to = {view, sizeof(graffiti)};
	int ends[2], result;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return errno;
	result = RESULT(write(ends[1], graffiti, sizeof(graffiti)));
	if (result == 0)
		result = RESULT(vm ? vmsplice(ends[0], &to, 1, 0) : readv(ends[0], &to, 1));
	close(ends[0]);
	close(ends[1]);
	return result;
}

static int by_readv(void)
{
	return by_pipe(false);
}

static int by_vmsplice(void)
{
	return by_pipe(true);
}

static int by_recv(void)
{
	int ends[2], result;

	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) != 0)
		return errno;
	result = RESULT(send(ends[1], graffiti, sizeof(graffiti), 0));
	if (result == 0)
		result = RESULT(recv(ends[0], view, sizeof(graffiti), 0));
	close(ends[0]);
	close(ends[1]);
	return result;
}

static int by_getrandom(void)
{
	return RESULT(getrandom(view, 8, 0));
}

static int by_ioctl(void)
{
	int ends[2], result;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return errno;
	result = RESULT(ioctl(ends[0], FIONREAD, view)); /* stores an int */
	close(ends[0]);
	close(ends[1]);
	return result;
}

static int write_mem(pid_t pid)
{
	char path[32];
	int mem, result;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	mem = open(path, O_RDWR | O_CLOEXEC);
	if (mem < 0)
		return errno;
	result = RESULT(pwrite(mem, graffiti, sizeof(graffiti), (off_t)(uintptr_t)view));
	close(mem);
	return result;
}

static int write_vm(pid_t pid)
{
	struct iovec from = {(char *)graffiti, sizeof(graffiti)}, to = {view, sizeof(graffiti)};

	return RESULT(process_vm_writev(pid, &from, 1, &to, 1, 0));
}

static int by_proc_mem(void)
{
	return write_mem(getpid());
}

static int by_process_vm_writev(void)
{
	return write_vm(getpid());
}

static int by_mprotect(void)
{
	return RESULT(mprotect(view, LENGTH, PROT_READ | PROT_WRITE));
}

static int by_madvise(void)
{
	return RESULT(madvise(view, LENGTH, MADV_REMOVE));
}

static int by_mmap(void)
{
	void *map = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)WINDOW);

	return map == MAP_FAILED ? errno : 0;
}

static int by_pwrite(void)
{
	return RESULT(pwrite(fd, graffiti, sizeof(graffiti), (off_t)WINDOW));
}

static int by_ftruncate(void)
{
	return RESULT(ftruncate(fd, 0));
}

static int by_fallocate(void)
{
	return RESULT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)WINDOW,
				(off_t)LENGTH));
}

static int by_attach(void)
{
	return mshare_attach(fd, NULL, PROT_READ | PROT_WRITE, MSHARE_ATTACH_ANYWHERE) == MAP_FAILED
		       ? errno
		       : 0;
}

static int by_map(void)
{
	return RESULT(mshare_map(fd, LENGTH, LENGTH, PROT_READ | PROT_WRITE, 0, -1, 0));
}

static int by_unmap(void)
{
	return RESULT(mshare_unmap(fd, 0, LENGTH));
}

static int by_protect(void)
{
	return RESULT(mshare_protect(fd, 0, LENGTH, PROT_READ | PROT_WRITE));
}

static int by_advise(void)
{
	return RESULT(mshare_advise(fd, 0, LENGTH, MADV_REMOVE));
}

static int by_reopen(void)
{
	return RESULT(mshare_reopen(fd, O_RDWR));
}

static int by_proc_fd(void)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return RESULT(open(path, O_RDWR | O_CLOEXEC));
}

static int by_fchmod(void)
{
	return RESULT(fchmod(fd, 0666));
}

static bool report(const char *what, int result)
{
	printf("  %-46s %s\n", what,
	       result == 0       ? "WENT THROUGH"
	       : result == FAULT ? "SIGSEGV"
				 : strerrorname_np(result));
	return result != 0;
}

static const struct attempt {
	const char *what;
	int (*try)(void);
	bool owner_may; /* only somebody else is kept from it */
} attempts[] = {
	{"a store", by_store, false},
	{"an atomic addition", by_atomic_add, false},
	{"read(2) into it", by_read, false},
	{"readv(2) from a pipe", by_readv, false},
	{"vmsplice(2) from a pipe", by_vmsplice, false},
	{"recv(2) from a socket", by_recv, false},
	{"getrandom(2)", by_getrandom, false},
	{"ioctl(2) that stores a number", by_ioctl, false},
	{"/proc/self/mem", by_proc_mem, false},
	{"process_vm_writev(2) to itself", by_process_vm_writev, false},
	{"mprotect(2): read and write", by_mprotect, false},
	{"madvise(2): MADV_REMOVE", by_madvise, false},
	{"mmap(2) of the descriptor, to write", by_mmap, false},
	{"pwrite(2) to the descriptor", by_pwrite, false},
	{"ftruncate(2) of it", by_ftruncate, false},
	{"fallocate(2) of it, to punch a hole", by_fallocate, false},
	{"mshare_attach(): read and write", by_attach, false},
	{"mshare_map()", by_map, false},
	{"mshare_unmap()", by_unmap, false},
	{"mshare_protect(): read and write", by_protect, false},
	{"mshare_advise(): MADV_REMOVE", by_advise, false},
	{"mshare_reopen(): O_RDWR", by_reopen, true},
	{"open(2) of /proc/self/fd/N: O_RDWR", by_proc_fd, true},
	{"fchmod(2) of it", by_fchmod, true},
};

static int reader(bool other_user, int tell, int hear)
{
	bool held = true;
	char byte;

	if (other_user && (setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 ||
			   setresuid(NOBODY, NOBODY, NOBODY) != 0)) {
		perror("read-only: become another user");
		return 1;
	}
	/* A change of user closes /proc/self/mem; open it again, or that attempt would prove
	 * nothing. */
	prctl(PR_SET_DUMPABLE, 1);
	view = mshare_attach(fd, NULL, PROT_READ, 0);
	if (view == MAP_FAILED) {
		fprintf(stderr, "read-only: attach: %s\n", mshare_errmsg());
		return 1;
	}
	printf("the reader, process %d of user %d, attached at %p, reads: \"%s\"\n", (int)getpid(),
	       (int)getuid(), (void *)view, view);
	signal(SIGSEGV, on_fault);
	for (size_t i = 0; i < sizeof(attempts) / sizeof(*attempts); i++) {
		if (attempts[i].owner_may && !other_user) {
			printf("  %-46s not tried: the owner may; run as root, "
			       "the reader is another user\n",
			       attempts[i].what);
			continue;
		}
		held &= report(attempts[i].what, attempts[i].try());
	}
	/* The owner's turn; then look at what it wrote. */
	if (write(tell, &view, sizeof(view)) != sizeof(view) || read(hear, &byte, 1) != 1)
		return 1;
	printf("the reader reads: \"%s\"\n", view);
	held &= strcmp(view, "what the owner wrote later") == 0;
	mshare_detach(view);
	return held ? 0 : 1;
}

static void die(const char *doing)
{
	fprintf(stderr, "read-only: %s: %s\n", doing, mshare_errmsg());
	exit(1);
}

int main(void)
{
	bool other_user = geteuid() == 0, held = true;
	int from_reader[2], to_reader[2], owner, status;
	char *text;
	pid_t pid;

	setvbuf(stdout, NULL, _IOLBF, 0); /* two processes print to it */
	/* Mode 0444: whoever is handed a descriptor of it cannot open it anew for writing. */
	owner = mshare_create(0, 0444);
	if (owner < 0)
		die("create");
	if (mshare_reserve(owner, NULL, WINDOW) != 0)
		die("reserve");
	if (mshare_map(owner, 0, LENGTH, PROT_READ | PROT_WRITE, 0, -1, 0) != 0)
		die("map");
	text = mshare_attach(owner, NULL, PROT_READ | PROT_WRITE, MSHARE_ATTACH_NOFORK);
	if (text == MAP_FAILED)
		die("attach");
	strcpy(text, original);
	printf("the owner, process %d, attached at %p, wrote: \"%s\"\n", (int)getpid(),
	       (void *)text, text);

	fd = mshare_reopen(owner, O_RDONLY);
	if (fd < 0)
		die("reopen");
	if (pipe2(from_reader, O_CLOEXEC) != 0 || pipe2(to_reader, O_CLOEXEC) != 0 ||
	    (pid = fork()) < 0) {
		perror("read-only: pipe, fork");
		return 1;
	}
	if (pid == 0) {
		close(owner);
		close(from_reader[0]);
		close(to_reader[1]);
		return reader(other_user, from_reader[1], to_reader[0]);
	}
	close(from_reader[1]);
	close(to_reader[0]);
	if (read(from_reader[0], &view, sizeof(view)) == sizeof(view)) {
		printf("the owner, through the reader's view:\n");
		held &= report("process_vm_writev(2)", write_vm(pid));
		held &= report("/proc/PID/mem", write_mem(pid));
		held &= strcmp(text, original) == 0;
		printf("the owner reads: \"%s\"%s\n", text, held ? ", unchanged" : "   WRONG");
		strcpy(text, "what the owner wrote later");
		if (write(to_reader[1], "", 1) != 1)
			held = false;
	}
	close(to_reader[1]);
	if (waitpid(pid, &status, 0) < 0 || status != 0)
		held = false;
	mshare_detach(text);
	close(owner);
	puts(held ? "nothing went through" : "SOMETHING WENT THROUGH, or went wrong");
	return held ? 0 : 1;
}
