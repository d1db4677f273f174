/* SPDX-License-Identifier: MIT */
/*
 * Rule 5: an access to a hole, or against the protection, is SIGSEGV at that
 * address in the process that did it; past the end of a backing file, SIGBUS.
 */
#include "test.h"

/* int f(void) { return 42; } */
#if defined(__x86_64__)
static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};
#elif defined(__aarch64__)
static const unsigned char code[] = {0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6};
#endif

static void backing(int fd, char *w, bool supported)
{
	size_t P = page();
	int file = memfd_create("backing", MFD_CLOEXEC);

	must(file >= 0 && ftruncate(file, (off_t)P) == 0);
	if (!supported) {
		check_error(mshare_map(fd, 64 * P, 2 * P, RW, 0, file, 0), EOPNOTSUPP,
			    "rule 5: no file backing on this back end, and it says so");
		check(load(w + 64 * P, NULL) == SIGSEGV, "rule 5: nothing was mapped");
	} else {
		check(mshare_map(fd, 64 * P, 2 * P, RW, 0, file, 0) == 0, "rule 5: map of a file");
		check(store(w + 64 * P, 1) == 0, "rule 5: inside the file");
		check(load(w + 65 * P, NULL) == SIGBUS, "rule 5: past its end: SIGBUS");
	}
	close(file);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	char *w = mshare_attach(fd, NULL, RW, 0);
	struct peer p = peer_unrelated();
	int there = p_open(&p, name, O_RDWR, 0);

	must(w != MAP_FAILED && p_attach(&p, there, NULL, RW, 0) == w);
	must(mshare_map(fd, P, P, RW, 0, -1, 0) == 0);
	must(mshare_map(fd, 2 * P, P, PROT_READ, 0, -1, 0) == 0);
	must(mshare_map(fd, 3 * P, P, PROT_NONE, 0, -1, 0) == 0);

	check(load(w, NULL) == SIGSEGV && fault_addr == w,
	      "rule 5: load from a hole: SIGSEGV there");
	check(store(w + 8, 1) == SIGSEGV && fault_addr == w + 8, "rule 5: store to a hole");
	check(load(w + GIB - 8, NULL) == SIGSEGV && fault_addr == w + GIB - 8,
	      "rule 5: load from the window's last bytes");
	check(store(w + P, 1) == 0, "rule 5: read-write memory");
	check(load(w + 2 * P, NULL) == 0 && store(w + 2 * P + 16, 1) == SIGSEGV &&
		      fault_addr == w + 2 * P + 16,
	      "rule 5: store to read-only memory: SIGSEGV there");
	/* msharefs does not say: to the kernel the attachment allows it. */
	check(fault_code == (on_shm() ? SEGV_ACCERR : SEGV_MAPERR),
	      "rule 5: and it is the protection, where si_code tells the two apart");
	check(load(w + 3 * P, NULL) == SIGSEGV, "rule 5: load from PROT_NONE memory");
	check(p_load(&p, w, NULL) == SIGSEGV && p_store(&p, w + 2 * P, 1) == SIGSEGV &&
		      p_load(&p, w + 3 * P, NULL) == SIGSEGV && p_load(&p, w + P, NULL) == 0,
	      "rule 5: the same in the other process");

	/* A peer takes memory away. */
	check(p_unmap(&p, there, P, P) == 0 && load(w + P, NULL) == SIGSEGV && fault_addr == w + P,
	      "rule 5: a peer can take memory away, as a thread can");

	/* A process that has no handler dies of it; nobody else does. */
	pid_t pid = fork();
	int status;

	must(pid >= 0);
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile char *)w = 1;
		_exit(0);
	}
	must(waitpid(pid, &status, 0) == pid);
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV,
	      "rule 5: the process that did it dies of it");
	check(p_load(&p, w + 2 * P, NULL) == 0, "rule 5: and nobody else");

	/* System calls on such addresses: EFAULT. */
	int pipefd[2];

	must(pipe2(pipefd, O_CLOEXEC) == 0);
	check(write(pipefd[1], w, 8) == -1 && errno == EFAULT,
	      "rule 5: write(2) from a hole: EFAULT");
	must(write(pipefd[1], "12345678", 8) == 8);
	check(read(pipefd[0], w + 2 * P, 8) == -1 && errno == EFAULT,
	      "rule 5: read(2) into read-only memory: EFAULT");

#if defined(__x86_64__) || defined(__aarch64__)
	struct statfs sf;
	int root = mshare_root(), v = 0;

	must(root >= 0 && fstatfs(root, &sf) == 0);
	close(root);
	must(mshare_map(fd, 8 * P, P, RW, 0, -1, 0) == 0);
	memcpy(w + 8 * P, code, sizeof(code));
	__builtin___clear_cache(w + 8 * P, w + 8 * P + sizeof(code));
	check(call_at(w + 8 * P, NULL) == SIGSEGV, "rule 5: no execution without PROT_EXEC");
	if (sf.f_flags & 8 /* ST_NOEXEC */) {
		skip("rule 6: execution follows the mapping's protection",
		     "the root's file system is mounted noexec");
	} else {
		check(mshare_protect(fd, 8 * P, P, PROT_READ | PROT_EXEC) == 0 &&
			      call_at(w + 8 * P, &v) == 0 && v == 42,
		      "rule 6: execution follows the mapping's own protection");
		check(store(w + 8 * P, 0) == SIGSEGV, "rule 5: and stores do too");
		check(mshare_protect(fd, 8 * P, P, PROT_READ) == 0 &&
			      call_at(w + 8 * P, NULL) == SIGSEGV,
		      "rule 6: and is taken away with it");
	}
#else
	skip("rule 6: execution follows the mapping's protection", "no code for this machine");
#endif
	backing(fd, w, backend().capabilities & MSHARE_CAP_FILE_BACKING);
	check(p_end(&p), "the peer ended well");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
