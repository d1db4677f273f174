/* SPDX-License-Identifier: MIT */
/*
 * SIGKILL at random moments among processes that map, protect, unmap, write,
 * attach, detach and fork. Each worker owns a slice of the window and keeps a
 * log, in memory that outlives it, of what it was told is done. Whenever one has
 * been killed, its slice must be as the log has it: what was under way either
 * wholly done or not at all. No other worker may ever see anything wrong.
 *
 *	crash [ROUNDS [PROCESSES [SEED]]]
 *	MSHARE_SOAK_ROUNDS, MSHARE_SOAK_PROCESSES, MSHARE_SOAK_SEED
 */
#include "random_util.h"
#include "test.h"

#define SLICE 48 /* pages of a worker */
#define MOST 64  /* workers */

enum doing { IDLE, MAPPING, UNMAPPING, PROTECTING, WRITING };

struct slot {
	int prot; /* -1: a hole */
	uint64_t value;
};

struct log {
	struct slot pages[SLICE];
	/* What is under way, if doing is not IDLE. */
	_Atomic uint32_t doing;
	uint32_t first, count;
	int prot;
	uint64_t value;

	uint64_t calls, forks, attached; /* how much was done, for the report */
	char complaint[256];
};

static struct {
	_Atomic uint32_t end;
	struct log logs[MOST];
} * shared;

static const char *name;
static uint64_t seed, processes, rounds;

struct worker {
	pid_t pid; /* and its process group */
	unsigned int index, life;
};

static struct worker workers[MOST];

/* ---- a worker ----------------------------------------------------------- */

static struct log *mine;
static size_t slice; /* where it begins in the window */
static char *window;
static int region;

__attribute__((noreturn, format(printf, 1, 2))) static void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(mine->complaint, sizeof(mine->complaint), fmt, ap);
	va_end(ap);
	_exit(1);
}

#define TRY(call)                                                                                  \
	do {                                                                                       \
		if ((call) == -1)                                                                  \
			complain("%s: %.180s", #call, mshare_errmsg());                            \
	} while (0)

/* The slice as this process's window shows it. */
static void look(const char *when)
{
	for (size_t i = 0; i < SLICE; i++) {
		const struct slot *slot = &mine->pages[i];
		bool readable = slot->prot > 0;
		char *at = window + slice + i * page();
		uint64_t first = 0, last = 0;
		int sig = load(at, &first);

		if (!sig)
			sig = load(at + page() - 8, &last);
		if (sig != (readable ? 0 : SIGSEGV))
			complain("%s: page %zu, protection %d: signal %d", when, i, slot->prot,
				 sig);
		if (!sig && (first != slot->value || last != slot->value))
			complain("%s: page %zu has %#" PRIx64 " and %#" PRIx64 ", not %#" PRIx64,
				 when, i, first, last, slot->value);
	}
}

static void begin_work(enum doing doing, size_t first, size_t count, int prot, uint64_t value)
{
	mine->first = (uint32_t)first;
	mine->count = (uint32_t)count;
	mine->prot = prot;
	mine->value = value;
	mine->doing = doing;
}

/* One change of the slice, chosen so that it has to succeed. */
static void change(void)
{
	static const int prots[] = {PROT_NONE, PROT_READ, RW, RW};
	size_t first = below(SLICE), count = 1;
	bool hole = mine->pages[first].prot == -1;
	size_t most = 1 + below(12);
	int prot = prots[below(4)];

	while (first + count < SLICE && count < most &&
	       (mine->pages[first + count].prot == -1) == hole)
		count++;
	size_t offset = slice + first * page(), length = count * page();

	mine->calls++;
	if (hole) {
		begin_work(MAPPING, first, count, prot, 0);
		TRY(mshare_map(region, offset, length, prot, below(4) ? 0 : MSHARE_MAP_NORESERVE,
			       -1, 0));
		for (size_t i = first; i < first + count; i++)
			mine->pages[i] = (struct slot){prot, 0};
	} else if (below(3)) {
		begin_work(PROTECTING, first, count, prot, 0);
		TRY(mshare_protect(region, offset, length, prot));
		for (size_t i = first; i < first + count; i++)
			mine->pages[i].prot = prot;
	} else {
		begin_work(UNMAPPING, first, count, -1, 0);
		TRY(mshare_unmap(region, offset, length));
		for (size_t i = first; i < first + count; i++)
			mine->pages[i] = (struct slot){-1, 0};
	}
	mine->doing = IDLE;
}

static void put(void)
{
	size_t i = below(SLICE);
	char *at = window + slice + i * page();
	uint64_t value = rnd();

	if (mine->pages[i].prot != RW)
		return;
	begin_work(WRITING, i, 1, RW, value);
	if (store(at, value) || store(at + page() - 8, value))
		complain("page %zu, read-write, took no store", i);
	mine->pages[i].value = value;
	mine->doing = IDLE;
}

static void attach(void)
{
	window = mshare_attach(region, NULL, RW, 0);
	if (window == MAP_FAILED)
		complain("mshare_attach: %s", mshare_errmsg());
	mine->attached++;
}

static void step(void)
{
	switch (below(4)) {
	case 0:
		put();
		break;
	case 1:
		look("now and then");
		break;
	default:
		change();
		break;
	}
}

static void with_child(void)
{
	pid_t self = getpid(), pid = fork();
	int status;

	if (pid == -1)
		complain("fork: %s", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != self)
			_exit(0);
		random_state ^= (uint64_t)getpid();
		look("in a child");
		for (uint64_t i = below(4); i > 0; i--)
			step();
		look("in a child, after its changes");
		if (below(2))
			TRY(mshare_detach(window));
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || !exited(status, 0)) {
		if (mine->complaint[0])
			_exit(1);
		complain("its child ended with status %#x", status);
	}
	mine->forks++;
	look("after its child's changes");
}

__attribute__((noreturn)) static void work(const struct worker *self)
{
	mine = &shared->logs[self->index];
	slice = self->index * SLICE * page();
	random_state = seed + self->index * 1000003 + self->life;
	mshare_set_timeout(60000);
	region = mshare_open(name, O_RDWR, 0);
	if (region == -1)
		complain("mshare_open: %s", mshare_errmsg());
	attach();
	look("as it was left");
	while (!shared->end) {
		switch (below(24)) {
		case 0:
			TRY(mshare_detach(window));
			attach();
			look("attached anew");
			break;
		case 1:
			with_child();
			break;
		default:
			step();
			break;
		}
	}
	look("at the end");
	TRY(mshare_detach(window));
	_exit(0);
}

/* ---- who kills them ----------------------------------------------------- */

static void worker_start(struct worker *w)
{
	w->pid = fork();
	must(w->pid >= 0);
	if (w->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setpgid(0, 0);
		work(w);
	}
	setpgid(w->pid, w->pid);
	w->life++;
}

/* Wait for it and for its children, which are ours when it has gone. Its own status. */
static int worker_reap(const struct worker *w)
{
	int status = -1, s;
	pid_t pid;

	while ((pid = waitpid(-w->pid, &s, 0)) > 0 || errno == EINTR)
		if (pid == w->pid)
			status = s;
	return status;
}

/* The protection of each page of the slice by the table: -1 for a hole. */
static bool slice_read(int fd, unsigned int index, int *prots)
{
	static struct mshare_mapping list[16384];
	size_t count = 16384, begin = index * SLICE * page();

	for (size_t i = 0; i < SLICE; i++)
		prots[i] = -1;
	if (mshare_mappings(fd, list, sizeof(list[0]), &count) != 0)
		return false;
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < SLICE; j++)
			if (begin + j * page() >= list[i].offset &&
			    begin + j * page() < list[i].offset + list[i].length)
				prots[j] = (int)list[i].prot;
	return true;
}

/* The dead one's slice and log; what was under way is settled in the log. */
static bool slice_check(int fd, unsigned int index)
{
	struct log *log = &shared->logs[index];
	bool pending = log->doing == MAPPING || log->doing == UNMAPPING || log->doing == PROTECTING;
	size_t first = log->first, end = first + log->count;
	int prots[SLICE], done = -1;

	if (!slice_read(fd, index, prots)) {
		note("mshare_mappings: %s", mshare_errmsg());
		return false;
	}
	for (size_t i = 0; i < SLICE; i++) {
		struct slot *slot = &log->pages[i];
		uint64_t words[2];
		bool under_way = pending && i >= first && i < end;
		off_t at = (off_t)(GIB + (index * SLICE + i) * page());

		if (under_way && slot->prot != log->prot) {
			bool is_new = prots[i] == log->prot;

			if (!is_new && prots[i] != slot->prot) {
				note("worker %u, page %zu: protection %d is neither %d nor %d",
				     index, i, prots[i], slot->prot, log->prot);
				return false;
			}
			if (done != -1 && done != is_new) {
				note("worker %u, page %zu: a change was done by half", index, i);
				return false;
			}
			done = is_new;
			if (is_new && (slot->prot == -1 || log->prot == -1))
				slot->value = 0;
			slot->prot = prots[i];
		} else if (prots[i] != slot->prot) {
			note("worker %u, page %zu: protection %d, acknowledged %d", index, i,
			     prots[i], slot->prot);
			return false;
		}
		if (slot->prot == -1)
			continue;
		if (pread(fd, &words[0], 8, at) != 8 ||
		    pread(fd, &words[1], 8, at + (off_t)page() - 8) != 8) {
			note("worker %u, page %zu: cannot be read", index, i);
			return false;
		}
		if (log->doing == WRITING && i == first) {
			/* Two stores: any of them may have been made. Made good here. */
			for (int j = 0; j < 2; j++)
				if (words[j] != slot->value && words[j] != log->value) {
					note("worker %u, page %zu: %#" PRIx64, index, i, words[j]);
					return false;
				}
			slot->value = log->value;
			if (pwrite(fd, &log->value, 8, at) != 8 ||
			    pwrite(fd, &log->value, 8, at + (off_t)page() - 8) != 8)
				return false;
		} else if (words[0] != slot->value || words[1] != slot->value) {
			note("worker %u, page %zu: has %#" PRIx64 " and %#" PRIx64
			     ", acknowledged %#" PRIx64,
			     index, i, words[0], words[1], slot->value);
			return false;
		}
	}
	log->doing = IDLE;
	return true;
}

/* Whether all that should live do. */
static bool all_well(void)
{
	bool well = true;

	for (unsigned int i = 0; i < processes; i++) {
		siginfo_t si = {.si_pid = 0};

		if (waitid(P_PID, (id_t)workers[i].pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0 &&
		    si.si_pid) {
			note("worker %u (process %d) ended by itself: code %d, status %d; %s", i,
			     workers[i].pid, si.si_code, si.si_status, shared->logs[i].complaint);
			well = false;
		}
	}
	return well;
}

static uint64_t setting(int argc, char **argv, int n, const char *variable, uint64_t otherwise)
{
	const char *text = argc > n ? argv[n] : getenv(variable);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	rounds = setting(argc, argv, 1, "MSHARE_SOAK_ROUNDS", 100);
	processes = setting(argc, argv, 2, "MSHARE_SOAK_PROCESSES", 8);
	seed = setting(argc, argv, 3, "MSHARE_SOAK_SEED", (uint64_t)now_ms() ^ (uint64_t)getpid());
	must(processes >= 1 && processes <= MOST);
	note("%" PRIu64 " rounds, %" PRIu64 " processes, seed %" PRIu64, rounds, processes, seed);
	must(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	random_state = seed;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	must(shared != MAP_FAILED);
	name = unique("region");
	int fd = region_new(name, GIB);

	probe_prepare();
	for (unsigned int i = 0; i < processes; i++) {
		for (int j = 0; j < SLICE; j++)
			shared->logs[i].pages[j].prot = -1;
		workers[i].index = i;
		worker_start(&workers[i]);
	}
	uint64_t round = 0, begun = now_ms(), busy = 0;
	bool good = true;

	for (; round < rounds && good; round++) {
		struct worker *w = &workers[below(processes)];

		usleep((useconds_t)below(below(2) ? 300 : 6000));
		/* Alone, or with its child if it has one. */
		kill(below(2) ? w->pid : -w->pid, SIGKILL);
		int status = worker_reap(w);

		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
			note("worker %u ended before it was killed: status %#x; %s", w->index,
			     status, shared->logs[w->index].complaint);
			good = false;
		}
		busy += shared->logs[w->index].doing != IDLE;
		good &= slice_check(fd, w->index) && all_well();
		worker_start(w);
	}
	check(good, "%" PRIu64 " rounds of SIGKILL: no survivor hurt, contents as acknowledged",
	      round);
	/* On a fast machine most are; else this would be no test. */
	check(rounds < 20 || busy > 0, "some were killed in the middle of something (%" PRIu64 ")",
	      busy);

	shared->end = 1;
	bool ended = true;

	for (unsigned int i = 0; i < processes; i++) {
		int status = worker_reap(&workers[i]);

		if (!exited(status, 0)) {
			note("worker %u ended with status %#x; %s", i, status,
			     shared->logs[i].complaint);
			ended = false;
		}
	}
	check(ended, "those that live in the end are well");
	bool slices = true;

	for (unsigned int i = 0; i < processes; i++)
		slices &= slice_check(fd, i);
	check(slices, "every slice is as acknowledged");
	struct mshare_info info = info_of(fd);

	check(info.attachments == 0 && info.stragglers == 0, "no attachment is left (%u, %u)",
	      info.attachments, info.stragglers);
	mshare_set_timeout(1000);
	check(mshare_map(fd, GIB - page(), page(), RW, 0, -1, 0) == 0, "no lock is left");
	info = info_of(fd);
	check(info.resident <= info.mapped, "no memory is lost (%" PRIu64 " of %" PRIu64 ")",
	      info.resident, info.mapped);
	check(mshare_unmap(fd, 0, GIB) == 0 && info_of(fd).resident == 0, "nor after an unmap");
	uint64_t calls = 0, forks = 0, attached = 0;

	for (unsigned int i = 0; i < processes; i++) {
		calls += shared->logs[i].calls;
		forks += shared->logs[i].forks;
		attached += shared->logs[i].attached;
	}
	note("%" PRIu64 " changes, %" PRIu64 " forks, %" PRIu64 " attachments, generation %" PRIu64
	     ", %" PRIu64 " ms",
	     calls, forks, attached, info.generation, now_ms() - begun);
	return done();
}
