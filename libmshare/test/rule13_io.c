/* SPDX-License-Identifier: MIT */
/*
 * Rule 13: read, write, sendfile, splice, sockets, O_DIRECT and io_uring, into
 * and out of a window, seen by a peer.
 */
#include "direct_util.h"
#include "uring_util.h"

#include <sys/sendfile.h>

static char *w;
static size_t P;
static struct peer p;

/* The peer finds the pattern `c` in the page at `offset`. */
static bool peer_sees(size_t offset, char c)
{
	uint64_t v = 0, want;

	memset(&want, c, 8);
	return p_load(&p, w + offset, &v) == 0 && v == want &&
	       p_load(&p, w + offset + P - 8, &v) == 0 && v == want;
}

static void uring(int file)
{
	struct uring u;
	const char *why = uring_open(&u);

	if (why) {
		lacking("rule 13: io_uring", "%s", why);
		return;
	}
	memset(w, 'u', P);
	check(uring_do(&u, IORING_OP_WRITE, file, w, P, 0, 0) == (int)P,
	      "rule 13: io_uring: write out");
	check(uring_do(&u, IORING_OP_READ, file, w + P, P, 0, 0) == (int)P && peer_sees(P, 'u'),
	      "rule 13: io_uring: read in, seen by the peer");
	struct iovec iov = {w + 4 * P, P};

	if (syscall(SYS_io_uring_register, u.fd, IORING_REGISTER_BUFFERS, &iov, 1) != 0) {
		check(errno == ENOMEM || errno == EPERM, "rule 13: io_uring: a registered buffer");
		skip("rule 13: io_uring: a registered buffer", "%s", strerror(errno));
	} else {
		check(uring_do(&u, IORING_OP_READ_FIXED, file, w + 4 * P, P, 0, 0) == (int)P &&
			      peer_sees(4 * P, 'u'),
		      "rule 13: io_uring: read into a registered buffer, seen by the peer");
	}
	check(uring_do(&u, IORING_OP_READ, file, w + 8 * P, P, 0, 0) == -EFAULT,
	      "rule 13: io_uring: read into a hole: EFAULT");
	close(u.fd);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB);

	must(mshare_map(fd, 0, 8 * P, RW, 0, -1, 0) == 0);
	w = mshare_attach(fd, NULL, RW, 0);
	must(w != MAP_FAILED);
	p = peer_unrelated();
	int there = p_open(&p, name, O_RDONLY, 0);

	must(p_attach(&p, there, NULL, PROT_READ, 0) == w);
	const char *path = temp_path("file");
	int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	must(file >= 0);
	memset(w, 'a', P);
	check(write(file, w, P) == (ssize_t)P, "rule 13: write(2) out of it");
	check(pread(file, w + P, P, 0) == (ssize_t)P && peer_sees(P, 'a'),
	      "rule 13: read(2) into it, seen by the peer");
	memset(w + 2 * P, 'b', 2 * P);
	struct iovec out[2] = {{w + 3 * P, P}, {w + 2 * P, P}},
		     in[2] = {{w + 5 * P, P}, {w + 4 * P, P}};

	check(pwritev(file, out, 2, 0) == 2 * (ssize_t)P &&
		      preadv(file, in, 2, 0) == 2 * (ssize_t)P && peer_sees(4 * P, 'b') &&
		      peer_sees(5 * P, 'b'),
	      "rule 13: pwritev(2) and preadv(2)");

	/* Partial: up to the hole, then EFAULT. */
	check(pread(file, w + 8 * P, P, 0) == -1 && errno == EFAULT,
	      "rule 13: read into a hole: EFAULT");
	ssize_t n = pread(file, w + 8 * P - 16, 32, 0);

	check(n == 16 || (n == -1 && errno == EFAULT),
	      "rule 13: read across the edge: what fits (%zd)", n);

	int pipefd[2];

	must(pipe2(pipefd, O_CLOEXEC) == 0);
	memset(w, 'c', P);
	struct iovec iov = {w, P};

	check(vmsplice(pipefd[1], &iov, 1, 0) == (ssize_t)P &&
		      read(pipefd[0], w + P, P) == (ssize_t)P && peer_sees(P, 'c'),
	      "rule 13: vmsplice(2) out of it, read(2) into it");
	must(lseek(file, 0, SEEK_SET) == 0);
	memset(w, 'd', P);
	must(pwrite(file, w, P, 0) == (ssize_t)P);
	check(sendfile(pipefd[1], file, NULL, P) == (ssize_t)P &&
		      read(pipefd[0], w + 2 * P, P) == (ssize_t)P && peer_sees(2 * P, 'd'),
	      "rule 13: sendfile(2), and into it");
	int pair[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	memset(w + 3 * P, 'e', P);
	check(send(pair[0], w + 3 * P, P, 0) == (ssize_t)P &&
		      recv(pair[1], w + 4 * P, P, MSG_WAITALL) == (ssize_t)P &&
		      peer_sees(4 * P, 'e'),
	      "rule 13: send(2) and recv(2)");

	/* Without copies by the page cache. */
	int direct = direct_open(P);

	if (direct < 0) {
		lacking("rule 13: O_DIRECT", "no file and no RAM disk here that has it");
	} else {
		memset(w + 6 * P, 'f', P);
		check(pwrite(direct, w + 6 * P, P, DIRECT_OFFSET) == (ssize_t)P,
		      "rule 13: O_DIRECT write out of it");
		check(pread(direct, w + 7 * P, P, DIRECT_OFFSET) == (ssize_t)P &&
			      peer_sees(7 * P, 'f'),
		      "rule 13: O_DIRECT read into it, seen by the peer");
		close(direct);
	}
	uring(file);
	unlink(path);
	check(p_end(&p), "the peer ended well");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
