/* SPDX-License-Identifier: MIT */
/* Rule 13: ptrace, /proc/PID/mem and process_vm_* reach into a window. */
#include "test.h"

#include <sys/ptrace.h>

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB), status;

	must(mshare_map(fd, 0, 4 * P, RW, 0, -1, 0) == 0);
	char *base = (char *)(uintptr_t)info_of(fd).base;
	/* The peer at the base; this process elsewhere. */
	struct peer p = peer_exec();
	int there = p_open(&p, name, O_RDWR, 0);

	must(p_attach(&p, there, NULL, RW, 0) == base);
	void *hold = mmap(base, P, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
			  0);

	must(hold == base);
	char *w = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE);

	must(w != MAP_FAILED && store(w, 101) == 0);

	uint64_t word = 0, v = 0;
	struct iovec local = {&word, 8}, remote = {base, 8};

	check(process_vm_readv(p.pid, &local, 1, &remote, 1, 0) == 8 && word == 101,
	      "rule 13: process_vm_readv(2) of a peer's window");
	word = 102;
	check(process_vm_writev(p.pid, &local, 1, &remote, 1, 0) == 8 && value_at(w) == 102,
	      "rule 13: process_vm_writev(2) into it");
	remote.iov_base = base + 8 * P;
	check(process_vm_readv(p.pid, &local, 1, &remote, 1, 0) == -1 && errno == EFAULT,
	      "rule 13: of a hole: EFAULT");

	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)p.pid);
	int mem = open(path, O_RDWR | O_CLOEXEC);

	must(mem >= 0);
	check(pread(mem, &word, 8, (off_t)(uintptr_t)base) == 8 && word == 102,
	      "rule 13: /proc/PID/mem reads");
	word = 103;
	check(pwrite(mem, &word, 8, (off_t)(uintptr_t)base) == 8 && value_at(w) == 103 &&
		      p_load(&p, base, &v) == 0 && v == 103,
	      "rule 13: /proc/PID/mem writes");
	close(mem);

	must(ptrace(PTRACE_ATTACH, p.pid, NULL, NULL) == 0);
	must(waitpid(p.pid, &status, 0) == p.pid && WIFSTOPPED(status));
	errno = 0;
	check(ptrace(PTRACE_PEEKDATA, p.pid, base, NULL) == 103 && errno == 0,
	      "rule 13: PTRACE_PEEKDATA");
	check(ptrace(PTRACE_POKEDATA, p.pid, base, 104L) == 0 && value_at(w) == 104,
	      "rule 13: PTRACE_POKEDATA");
	/* A debugger reads with force, PROT_NONE or not; it never finds anything in a hole. */
	errno = 0;
	long hole = ptrace(PTRACE_PEEKDATA, p.pid, base + 8 * P, NULL);

	check((hole == -1 && errno == EIO) || (hole == 0 && errno == 0),
	      "rule 13: of a hole: EIO or zero");
	check(ptrace(PTRACE_POKEDATA, p.pid, base + 8 * P, 1L) == -1 && errno == EIO,
	      "rule 13: into a hole: EIO");
	/* Its main thread is stopped by ptrace; its service thread is not. */
	check(mshare_map(fd, 8 * P, P, RW, 0, -1, 0) == 0, "rule 13: a change meanwhile");
	must(store(w + 8 * P, 105) == 0);
	errno = 0;
	check(ptrace(PTRACE_PEEKDATA, p.pid, base + 8 * P, NULL) == 105 && errno == 0,
	      "rule 13: has arrived in it");
	must(ptrace(PTRACE_DETACH, p.pid, NULL, NULL) == 0);
	check(p_load(&p, base, &v) == 0 && v == 104, "rule 13: and it goes on");

	/* mincore and madvise of a reader kind work on it. */
	unsigned char vec[4];

	check(mincore(w, 4 * P, vec) == 0 && (vec[0] & 1), "rule 13: mincore(2)");
	check(p_end(&p), "the peer ended well");
	check(mshare_detach(w) == 0, "detach");
	munmap(hold, P);
	return done();
}
