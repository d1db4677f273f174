/* SPDX-License-Identifier: MIT */
/*
 * The protocol: read permission is the power to stall changes, and no more. A
 * process with an O_RDONLY descriptor that holds the modifier lock (byte M) for
 * reading: EBUSY after the limit, nothing changed, joiners come and go.
 */
#include "map_util.h"
#include "party_util.h"

static const char *name;

static int reader(void *arg)
{
	short type = *(short *)arg;
	int fd = mshare_open(name, O_RDONLY, 0);
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};

	must(fd >= 0);
	must(fcntl(fd, type, &lock) == 0);
	party_report(0);
	lock.l_type = F_UNLCK;
	must(fcntl(fd, type, &lock) == 0);
	party_report(0);
	lock.l_type = F_RDLCK;
	must(fcntl(fd, type, &lock) == 0);
	party_report(0);
	return 0;
}

static void held(int fd, char *w, const char *how)
{
	size_t P = page();
	struct mshare_info before = info_of(fd), after;

	mshare_set_timeout(200);
	uint64_t begin = now_ms();

	check_error(mshare_map(fd, 8 * P, P, RW, 0, -1, 0), EBUSY, "%s: map", how);
	check(now_ms() - begin >= 199, "after the limit and not before");
	check(strstr(mshare_errmsg(), "lock") && errmsg_has_number(200),
	      "mshare_errmsg tells of the lock and the limit: \"%s\"", mshare_errmsg());
	check_error(mshare_unmap(fd, 0, P), EBUSY, "%s: unmap", how);
	check_error(mshare_protect(fd, 0, P, PROT_READ), EBUSY, "%s: protect", how);
	after = info_of(fd);
	check(after.generation == before.generation && after.resident == before.resident &&
		      MAPPED_IS(fd, {0, 4 * P, RW, 0}) && store(w, 1) == 0,
	      "%s: nothing has changed", how);
	mshare_set_timeout(30000);
	struct peer p = peer_exec();
	int there = p_open(&p, name, O_RDWR, 0);

	check(p_attach(&p, there, NULL, RW, 0) == w && p_store(&p, w, 2) == 0,
	      "%s: another process attaches", how);
	check(p_detach(&p, w) == 0 && p_end(&p), "%s: and detaches", how);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();

	name = unique("region");
	int fd = region_new(name, GIB);

	must(mshare_map(fd, 0, 4 * P, RW, 0, -1, 0) == 0);
	for (int posix = 0; posix < 2; posix++) {
		short type = posix ? F_SETLK : F_OFD_SETLK;
		struct party r = party_start(reader, &type);

		must(party_await(&r) == 0);
		char *w = mshare_attach(fd, NULL, RW, 0);

		check(w != MAP_FAILED, "attach while a reader holds M");
		held(fd, w, posix ? "a reader's POSIX lock" : "a reader's OFD lock");
		must(party_next(&r, 0) == 0);
		check(mshare_protect(fd, 0, P, PROT_READ) == 0 && mshare_protect(fd, 0, P, RW) == 0,
		      "released: changes go on");
		must(party_next(&r, 0) == 0);
		mshare_set_timeout(100);
		check_error(mshare_unmap(fd, 0, P), EBUSY, "held again");
		mshare_set_timeout(30000);
		party_kill(&r);
		check(mshare_protect(fd, 0, P, PROT_READ) == 0 && mshare_protect(fd, 0, P, RW) == 0,
		      "killed: changes go on");
		check(mshare_detach(w) == 0 && info_of(fd).attachments == 0, "detach");
	}
	return done();
}
