/* SPDX-License-Identifier: MIT */
/*
 * Bad input: a region's file that was cut short or written over, attached and
 * not. Every call answers; none crashes, hangs or sends SIGBUS; the errors say
 * that the region is damaged. (With a control area that lies: protocol_fuzz.c.)
 */
#include "test.h"

static size_t P;
static const char *name;

/* EUCLEAN, or EINVAL (no region any more), or ENODATA (an empty one). */
static bool is_damage(int error)
{
	return error == EUCLEAN || error == EINVAL || error == ENODATA;
}

#define damaged(call, what)                                                                        \
	({                                                                                         \
		errno = 0;                                                                         \
		long long r_ = (long long)(call);                                                  \
		int e_ = errno;                                                                    \
		if (!(r_ == -1 && is_damage(e_)))                                                  \
			note("  returned %lld, errno %d (%s)", r_, e_, strerror(e_));              \
		check(r_ == -1 && is_damage(e_) && mshare_errno() == e_, "%s: %s", what, #call);   \
	})

/* Calls that need an intact control area. */
static void all_refuse(int fd, const char *what)
{
	damaged(mshare_map(fd, 64 * P, P, RW, 0, -1, 0), what);
	damaged(mshare_unmap(fd, 0, P), what);
	damaged(mshare_protect(fd, 0, P, PROT_READ), what);
	damaged(mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE), what);
}

static void scribble_noise(int fd, size_t length, unsigned int seed)
{
	uint64_t x = 88172645463325252ull + seed, buf[512];

	for (size_t o = 0; o < length; o += sizeof(buf)) {
		for (int i = 0; i < 512; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			buf[i] = x;
		}
		must(pwrite(fd, buf, sizeof(buf), (off_t)o) == sizeof(buf));
	}
}

static void scribble_ones(int fd, size_t length, unsigned int seed)
{
	char buf[4096];

	(void)seed;
	memset(buf, 0xff, sizeof(buf));
	for (size_t o = 0; o < length; o += sizeof(buf))
		must(pwrite(fd, buf, sizeof(buf), (off_t)o) == sizeof(buf));
}

static void scribble_zeroes(int fd, size_t length, unsigned int seed)
{
	(void)seed;
	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)length) == 0);
}

static size_t control;

static void cut(int fd, size_t length, unsigned int seed)
{
	(void)seed;
	must(ftruncate(fd, (off_t)length) == 0);
}

static const struct damage {
	const char *what;
	void (*how)(int fd, size_t length, unsigned int seed);
	/* In units of the control area's length, plus a constant. */
	size_t part, whole, plus;
	bool data_gone;
} damages[] = {
	{"cut to nothing", cut, 0, 1, 0, true},
	{"cut to one byte", cut, 0, 1, 1, true},
	{"cut to a few bytes", cut, 0, 1, 40, true},
	{"cut to the middle of the control area", cut, 1, 2, 0, true},
	{"cut to a byte less than the control area", cut, 1, 1, -(size_t)1, true},
	{"cut to the control area", cut, 1, 1, 0, true},
	{"cut to where the data begin", cut, 0, 1, GIB, true},
	{"cut inside the data", cut, 0, 1, GIB + 8192, false},
	{"control area full of noise", scribble_noise, 1, 1, 0, false},
	{"control area full of ones", scribble_ones, 1, 1, 0, false},
	{"control area full of zeroes", scribble_zeroes, 1, 1, 0, false},
};

static void try(const struct damage *d, unsigned int seed)
{
	int fd = mshare_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);

	must(fd >= 0 && mshare_reserve(fd, NULL, GIB) == 0);
	must(mshare_map(fd, 0, 2 * P, RW, 0, -1, 0) == 0);
	must(mshare_map(fd, 32 * P, P, PROT_READ, 0, -1, 0) == 0);
	if (!control) {
		off_t end = lseek(fd, 0, SEEK_HOLE);

		must(end >= (off_t)P && end <= (off_t)(64 * MIB));
		control = (size_t)end;
		note("the control area has %zu bytes", control);
	}
	size_t length = control * d->part / d->whole + d->plus;
	bool cut_short = d->how == cut && length < GIB + 33 * P;

	/* Attached here, in a child and in a process of its own. */
	char *w = mshare_attach(fd, NULL, RW, 0);
	struct peer child = peer_fork(), p = peer_exec();
	int there = p_open(&p, name, O_RDWR, 0);

	must(w != MAP_FAILED && p_attach(&p, there, NULL, RW, 0) == w);
	must(store(w, 1) == 0 && p_load(&child, w, NULL) == 0);

	d->how(fd, length, seed);
	all_refuse(fd, d->what);
	struct mshare_info i;
	struct mshare_mapping m[8];
	size_t count = 8;
	int r = mshare_info(fd, &i, sizeof(i));

	check(r == 0 || is_damage(errno), "%s: info answers (%d, errno %d)", d->what, r, errno);
	r = mshare_mappings(fd, m, sizeof(m[0]), &count);
	check(r == 0 || is_damage(errno), "%s: mappings answers (%d, errno %d)", d->what, r, errno);
	r = mshare_advise(fd, 0, P, MADV_REMOVE);
	check(r == 0 || is_damage(errno), "%s: advise answers (%d, errno %d)", d->what, r, errno);
	r = p_map(&p, there, 64 * P, P, RW, 0);
	check(r == -1 && is_damage(errno), "%s: map by another process (%d, errno %d)", d->what, r,
	      errno);

	/* The window: as it was, or inaccessible; SIGBUS only where the file is gone. */
	int here = load(w, NULL), peer = p_load(&p, w, NULL), kid = p_load(&child, w, NULL);

	check((here == 0 || here == SIGSEGV || (cut_short && here == SIGBUS)) &&
		      (peer == 0 || peer == SIGSEGV || (cut_short && peer == SIGBUS)) &&
		      (kid == 0 || kid == SIGSEGV || (cut_short && kid == SIGBUS)),
	      "%s: a touch is harmless or a signal (%d, %d, %d)", d->what, here, peer, kid);
	if (d->data_gone)
		check(here != 0 && peer != 0 && kid != 0,
		      "rule 5: %s: past the end of the file there is nothing", d->what);
	check(load(w + 16 * P, NULL) == SIGSEGV || load(w + 16 * P, NULL) == SIGBUS,
	      "rule 5: %s: a hole is no memory", d->what);

	/* All of them can leave, fork and attach something else. */
	struct peer late = peer_fork();
	int sig = p_load(&late, w, NULL);

	check(sig == 0 || sig == SIGSEGV || sig == SIGBUS, "%s: a child of this process lives (%d)",
	      d->what, sig);
	check(p_end(&late), "%s: and ends well", d->what);
	check(mshare_detach(w) == 0 && load(w, NULL) == SIGSEGV, "%s: detach", d->what);
	check(p_detach(&p, w) == 0 && p_detach(&child, w) == 0, "%s: the others detach", d->what);
	all_refuse(fd, d->what);
	int again = mshare_open(name, O_RDWR, 0);

	check(again >= 0, "%s: it can be opened", d->what);
	damaged(mshare_attach(again, NULL, PROT_READ, 0), d->what);
	check(p_end(&p) && p_end(&child), "%s: the peers ended well", d->what);
	check(mshare_unlink(name) == 0, "%s: and unlinked", d->what);
	close(fd);
	close(again);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	P = page();
	name = unique("region");
	/* If a change has to wait for what cannot be read, not for long. */
	mshare_set_timeout(2000);
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++)
		try(&damages[i], (unsigned int)i);

	/* A healthy one beside them. */
	int fd = region_new(name, GIB);
	char *w = mshare_attach(fd, NULL, RW, 0);

	check(w != MAP_FAILED && mshare_map(fd, 0, P, RW, 0, -1, 0) == 0 && store(w, 1) == 0 &&
		      mshare_detach(w) == 0,
	      "a new region of that name is well");
	return done();
}
