/* SPDX-License-Identifier: MIT */
/* Rule 6: no kernel path can write through a read-only view. */
#include "direct_util.h"
#include "uring_util.h"

#include <linux/futex.h>
#include <sys/ptrace.h>

static char *w;
static char *truth; /* the same memory, writable */

static bool untouched(void)
{
	return value_at(truth) == 4711;
}

/* `call` must fail with one of two errors, and write nothing. */
#define refused(call, e1, e2, what)                                                                \
	({                                                                                         \
		errno = 0;                                                                         \
		long r_ = (long)(call);                                                            \
		check(r_ == -1 && (errno == (e1) || errno == (e2)) && untouched(), "rule 6: %s",   \
		      what);                                                                       \
	})

static void direct_io(void)
{
	size_t P = page();
	char *data = mmap(NULL, P, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = direct_open(P);

	must(data != MAP_FAILED);
	if (fd < 0) {
		lacking("rule 6: O_DIRECT", "no file and no RAM disk here that has it");
	} else {
		memset(data, 'd', P);
		must(pwrite(fd, data, P, DIRECT_OFFSET) == (ssize_t)P);
		/* That it works elsewhere shows that the refusal is the view's. */
		memset(data, 0, P);
		must(pread(fd, data, P, DIRECT_OFFSET) == (ssize_t)P && data[5] == 'd');
		refused(pread(fd, w, P, DIRECT_OFFSET), EFAULT, EFAULT,
			"pread(2) with O_DIRECT into it");
		check(pwrite(fd, w, P, DIRECT_OFFSET) == (ssize_t)P && untouched(),
		      "rule 6: with O_DIRECT out of it: that only reads");
		close(fd);
	}
	munmap(data, P);
}

static void uring(void)
{
	struct uring u;
	const char *why = uring_open(&u);
	const char *path = temp_path("uring");
	char buf[64];

	if (why) {
		lacking("rule 6: io_uring", "%s", why);
		return;
	}
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(fd >= 0 && write(fd, "0123456789abcdef", 16) == 16);
	unlink(path);
	must(uring_do(&u, IORING_OP_READ, fd, buf, 16, 0, 0) == 16);
	check(uring_do(&u, IORING_OP_READ, fd, w, 16, 0, 0) == -EFAULT && untouched(),
	      "rule 6: io_uring: a read into it");
	struct iovec iov = {w, page()};

	errno = 0;
	check(syscall(SYS_io_uring_register, u.fd, IORING_REGISTER_BUFFERS, &iov, 1) == -1 &&
		      errno == EFAULT,
	      "rule 6: io_uring: it cannot be registered as a buffer");
	close(fd);
	close(u.fd);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");
	int rw = region_new(name, GIB), ro = mshare_open(name, O_RDONLY, 0);
	int pipefd[2], mem;

	must(ro >= 0 && mshare_map(rw, 0, 4 * P, RW, 0, -1, 0) == 0);
	w = mshare_attach(ro, NULL, PROT_READ, 0);
	truth = mshare_attach(rw, NULL, RW, MSHARE_ATTACH_ANYWHERE);
	must(w != MAP_FAILED && truth != MAP_FAILED);
	must(store(truth, 4711) == 0 && value_at(w) == 4711);

	check(store(w, 1) == SIGSEGV && untouched(), "rule 6: a store by the CPU");
	check(mprotect(w, P, RW) == -1 && errno == EACCES && store(w, 1) == SIGSEGV,
	      "rule 6: mprotect(2) to read-write: EACCES");

	must(pipe2(pipefd, O_CLOEXEC) == 0);
	must(write(pipefd[1], "0123456789abcdef0123456789abcdef", 32) == 32);
	refused(read(pipefd[0], w, 8), EFAULT, EFAULT, "read(2) into it");
	struct iovec iov = {w, 8};

	refused(readv(pipefd[0], &iov, 1), EFAULT, EFAULT, "readv(2) into it");
	refused(vmsplice(pipefd[0], &iov, 1, 0), EFAULT, EFAULT,
		"vmsplice(2) out of a pipe into it");

	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	must(file >= 0);
	refused(pread(file, w, 8, 0), EFAULT, EFAULT, "pread(2) into it");
	close(file);
	int pair[2];

	must(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) == 0);
	must(write(pair[0], "datagram", 8) == 8);
	refused(recv(pair[1], w, 8, 0), EFAULT, EFAULT, "recv(2) into it");
	refused(syscall(SYS_getcwd, w, 64), EFAULT, EFAULT, "a result of a system call");
	struct stat *sp = (struct stat *)w;

	refused(syscall(SYS_fstat, pipefd[0], sp), EFAULT, EFAULT, "fstat(2) into it");
	/* FUTEX_OP_ADD 1: writes to the second word, whatever it wakes. */
	refused(syscall(SYS_futex, truth, FUTEX_WAKE_OP, 1, 1UL, w,
			FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0)),
		EFAULT, EFAULT, "FUTEX_WAKE_OP on it");

	/* From the same process, and from another that may trace it. */
	uint64_t word = 99;
	struct iovec local = {&word, 8}, remote = {w, 8};

	refused(process_vm_writev(getpid(), &local, 1, &remote, 1, 0), EFAULT, EFAULT,
		"process_vm_writev(2), of oneself");
	mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	must(mem >= 0);
	check(pwrite(mem, &word, 8, (off_t)(uintptr_t)truth + 64) == 8 && value_at(w + 64) == 99,
	      "rule 6: /proc/self/mem does write to a read-write view");
	refused(pwrite(mem, &word, 8, (off_t)(uintptr_t)w), EIO, EFAULT,
		"/proc/self/mem: not even with its force");
	close(mem);

	struct peer p = peer_exec();
	int there = p_open(&p, name, O_RDONLY, 0);

	must(p_attach(&p, there, NULL, PROT_READ, 0) == w);
	refused(process_vm_writev(p.pid, &local, 1, &remote, 1, 0), EFAULT, EFAULT,
		"process_vm_writev(2) into another process' view");
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)p.pid);
	mem = open(path, O_RDWR | O_CLOEXEC);
	if (mem < 0) {
		lacking("rule 6: /proc/PID/mem", "open: %s", strerror(errno));
	} else {
		refused(pwrite(mem, &word, 8, (off_t)(uintptr_t)w), EIO, EFAULT,
			"/proc/PID/mem of another process");
		close(mem);
	}
	int status;

	if (ptrace(PTRACE_ATTACH, p.pid, NULL, NULL) != 0) {
		lacking("rule 6: PTRACE_POKEDATA", "ptrace: %s", strerror(errno));
	} else {
		must(waitpid(p.pid, &status, 0) == p.pid && WIFSTOPPED(status));
		refused(ptrace(PTRACE_POKEDATA, p.pid, w, 99L), EIO, EFAULT,
			"PTRACE_POKEDATA: not even a debugger");
		must(ptrace(PTRACE_DETACH, p.pid, NULL, NULL) == 0);
	}
	direct_io();
	uring();
	check(untouched() && value_at(w) == 4711, "rule 6: nothing was written by any of these");
	check(p_end(&p), "the peer ended well");
	check(mshare_detach(w) == 0 && mshare_detach(truth) == 0, "detach");
	return done();
}
