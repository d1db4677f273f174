/* SPDX-License-Identifier: MIT */
/*
 * A region's file is other people's data. Whatever is in its control area, the
 * library refuses or serves: no signal, no hang, no mapping outside the window.
 * Checksums are put right again in most rounds, so that what lies is looked at.
 *
 *	MSHARE_FUZZ_SEED, MSHARE_FUZZ_ROUNDS, MSHARE_FUZZ_FIRST (one of them alone
 *	is enough to see a failure again: a round depends on the seed and its number)
 */
#include "party_util.h"
#include "random_util.h"

#include <sys/statvfs.h>
#include <sys/sysmacros.h>

/* The file's layout, which src/backend_shm.c describes. */
#define DATA GIB
#define MAGIC UINT64_C(0x0a6572616873006d)
#define TABLE_MAX 16384u

struct entry {
	uint64_t offset, length;
	uint32_t prot, flags;
};

struct table {
	uint64_t generation;
	uint32_t count, zero;
	uint64_t populate_offset, populate_length, checksum, spare[3];
	struct entry entries[100];
};

#define TABLE_ROOM (((64 + TABLE_MAX * sizeof(struct entry)) + 4095) / 4096 * 4096)

struct control {
	struct {
		uint64_t magic;
		uint32_t version, zero;
		uint64_t window, base, checksum;
	} header;
	char gap1[64 - 40];
	uint32_t words[3];
	char gap2[64 - 12];
	struct {
		uint64_t settled, punch_offset, punch_length, table_room, checksum;
	} state;
	char gap3[4096 - 128 - 40];
	struct table tables[2]; /* in the file TABLE_ROOM apart */
	uint64_t size;          /* of the file */
};

static uint64_t checksum(uint64_t sum, const void *data, size_t size)
{
	for (size_t i = 0; i < size; i += 8) {
		uint64_t word;

		memcpy(&word, (const char *)data + i, 8);
		sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		sum ^= sum >> 32;
	}
	return sum;
}

static uint64_t table_sum(const struct table *t)
{
	uint32_t count = t->count < 100 ? t->count : 100;

	return checksum(checksum(MAGIC, t, offsetof(struct table, checksum)), t->entries,
			count * sizeof(struct entry));
}

static void checksums(struct control *c)
{
	c->header.checksum = checksum(0, &c->header, 32);
	c->state.checksum = checksum(MAGIC, &c->state, 32);
	for (int i = 0; i < 2; i++)
		c->tables[i].checksum = table_sum(&c->tables[i]);
}

static void control_read(int fd, struct control *c)
{
	struct stat st;

	memset(c, 0, sizeof(*c));
	must(pread(fd, c, 4096, 0) == 4096 && fstat(fd, &st) == 0);
	for (int i = 0; i < 2; i++)
		must(pread(fd, &c->tables[i], sizeof(c->tables[i]),
			   4096 + (off_t)(i * TABLE_ROOM)) == sizeof(c->tables[i]));
	c->size = (uint64_t)st.st_size;
}

static void control_write(int fd, const struct control *c)
{
	must(pwrite(fd, c, 4096, 0) == 4096);
	for (int i = 0; i < 2; i++)
		must(pwrite(fd, &c->tables[i], sizeof(c->tables[i]),
			    4096 + (off_t)(i * TABLE_ROOM)) == sizeof(c->tables[i]));
	must(ftruncate(fd, (off_t)c->size) == 0);
}

/* Numbers that break what was not thought of. */
static uint64_t odd_number(uint64_t near)
{
	static const uint64_t odd[] = {
		0,
		1,
		4095,
		4096,
		8192,
		GIB - 4096,
		GIB - 1,
		GIB,
		GIB + 1,
		GIB + 4096,
		2 * GIB,
		UINT64_C(1) << 46,
		TOP,
		TOP - GIB,
		UINT64_C(1) << 62,
		UINT64_C(1) << 63,
		UINT64_MAX,
		UINT64_MAX - 4095,
		UINT64_MAX / 4096 * 4096,
	};

	switch (below(4)) {
	case 0:
		return near + below(3) - 1;
	case 1:
		return near + (below(33) - 16) * 4096;
	case 2:
		return rnd() >> below(64);
	default:
		return odd[below(sizeof(odd) / sizeof(odd[0]))];
	}
}

static void flip(void *data, size_t size, unsigned int times)
{
	for (unsigned int i = 0; i < times; i++)
		((unsigned char *)data)[below(size)] ^= (unsigned char)(1 << below(8));
}

enum kind {
	FLIP_PAGE,
	FLIP_TABLE,
	NOISE,
	HEADER_LIES,
	WORD_LIES,
	STATE_LIES,
	TABLE_LIES,
	ENTRY_LIES,
	CUT_SHORT,
	NEXT_TABLE,
	KINDS,
};

static const char *const kind_names[] = {
	"bits of the first page flipped",
	"bits of the tables flipped",
	"noise",
	"a window, base or version that lies",
	"words that lie",
	"a state that lies",
	"a table's head that lies",
	"entries that lie",
	"a file cut short or made longer",
	"a well-formed next table that nobody published",
};

static void mutate(struct control *c, enum kind kind)
{
	struct table *held = &c->tables[c->words[0] & 1], *other = &c->tables[~c->words[0] & 1];
	struct table *t = below(3) ? held : other;

	switch (kind) {
	case FLIP_PAGE:
		flip(c, 4096, 1 + (unsigned int)below(8));
		if (below(2))
			flip(c, 168, 1 + (unsigned int)below(4));
		break;
	case FLIP_TABLE:
		flip(t, 64 + 8 * sizeof(struct entry), 1 + (unsigned int)below(4));
		break;
	case NOISE: {
		size_t from = below(2) ? 0 : below(4096);
		size_t size = 1 + below(below(2) ? 64 : sizeof(*c) - 4096);

		for (size_t i = from; i < from + size && i < offsetof(struct control, size); i++)
			((unsigned char *)c)[i] = (unsigned char)rnd();
		break;
	}
	case HEADER_LIES:
		switch (below(4)) {
		case 0:
			c->header.window = odd_number(c->header.window);
			break;
		case 1:
			c->header.base = odd_number(c->header.base);
			break;
		case 2:
			c->header.window = (1 + below(1 << 18)) * GIB;
			c->header.base = below(1 << 17) * GIB;
			break;
		default:
			c->header.version = (uint32_t)odd_number(1);
			if (below(2))
				c->header.magic = odd_number(MAGIC);
			break;
		}
		/* The size says the same, so that it is not what gives the lie away. */
		if (below(4) && c->header.window < UINT64_C(1) << 62)
			c->size = DATA + c->header.window;
		break;
	case WORD_LIES:
		c->words[below(2) ? 0 : below(3)] = (uint32_t)odd_number(c->words[0]);
		if (below(2))
			c->tables[c->words[0] & 1].generation = c->words[0] |
								(below(2) ? rnd() << 32 : 0);
		break;
	case STATE_LIES:
		switch (below(4)) {
		case 0:
			c->state.settled = odd_number(c->state.settled);
			break;
		case 1:
			c->state.table_room = odd_number(c->state.table_room);
			break;
		default:
			c->state.punch_offset = odd_number(8 * 4096);
			c->state.punch_length = odd_number(8 * 4096);
			if (below(2))
				c->state.settled--;
			break;
		}
		break;
	case TABLE_LIES:
		switch (below(4)) {
		case 0:
			t->count = (uint32_t)odd_number(t->count);
			if (below(2))
				t->count = TABLE_MAX + (uint32_t)below(3) - 1;
			break;
		case 1:
			t->generation = odd_number(t->generation);
			break;
		case 2:
			t->generation += rnd() << 32;
			break;
		default:
			t->populate_offset = odd_number(0);
			/* Not a whole window of memory, which would be no fault. */
			t->populate_length = below(2) ? GIB + 4096 + rnd() : below(256) * 4096;
			break;
		}
		break;
	case ENTRY_LIES:
		for (unsigned int i = 0; i < 1 + below(3); i++) {
			struct entry *e = &t->entries[below(t->count ? t->count % 100 + 1 : 1)];

			switch (below(5)) {
			case 0:
				e->offset = odd_number(e->offset);
				break;
			case 1:
				e->length = odd_number(e->length);
				break;
			case 2:
				e->prot = (uint32_t)odd_number(e->prot);
				break;
			case 3:
				e->flags = (uint32_t)odd_number(e->flags);
				break;
			default: {
				struct entry swap = t->entries[0];

				t->entries[0] = *e;
				*e = swap;
				break;
			}
			}
		}
		break;
	case CUT_SHORT: {
		static const uint64_t sizes[] = {0, 1, 39, 40, 64, 100, 128, 4095, 4096, 5000};

		c->size = below(2)   ? sizes[below(10)]
			  : below(2) ? below(4096 + 2 * TABLE_ROOM)
				     : odd_number(c->size) & ~(UINT64_C(3) << 62);
		break;
	}
	case NEXT_TABLE: {
		uint64_t at = 0;

		other->generation = held->generation + 1;
		other->count = (uint32_t)below(90);
		for (uint32_t i = 0; i < other->count; i++) {
			at += (1 + below(64)) * 4096;
			other->entries[i] = (struct entry){at, (1 + below(64)) * 4096,
							   (uint32_t)below(8), (uint32_t)below(2)};
			at += other->entries[i].length;
		}
		other->populate_offset = below(100) * 4096;
		other->populate_length = below(100) * 4096;
		c->words[0] = (uint32_t)other->generation;
		break;
	}
	case KINDS:
		break;
	}
}

static bool noexec; /* the root: EACCES for what a lie has as executable */

static bool allowed(int err)
{
	static const int list[] = {EUCLEAN, EINVAL, ENODATA,    EBUSY, ETIMEDOUT, EEXIST,
				   ENOMEM,  ENOSPC, EADDRINUSE, E2BIG, EFBIG,     EOVERFLOW};

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (err == list[i])
			return true;
	return noexec && err == EACCES;
}

static bool good;

/* A call that has to succeed or to fail in a known way. True: it succeeded. */
#define TRY(call)                                                                                  \
	({                                                                                         \
		errno = 0;                                                                         \
		bool ok_ = (int64_t)(call) != -1;                                                  \
		int e_ = errno;                                                                    \
		if (!ok_ &&                                                                        \
		    (!allowed(e_) || e_ != mshare_errno() || strlen(mshare_errmsg()) < 10)) {      \
			note("  %s: errno %d (%s), \"%s\"", #call, e_, strerror(e_),               \
			     mshare_errmsg());                                                     \
			good = false;                                                              \
		}                                                                                  \
		ok_;                                                                               \
	})

/* The attachments there are. */
static struct {
	char *at;
	uint64_t size;
} windows[2];

/* Whatever is mapped of the file is in a window, or is the page of the words. */
static void mappings_check(int fd)
{
	char line[512];
	struct stat st;
	FILE *maps = fopen("/proc/self/maps", "re");

	must(maps && fstat(fd, &st) == 0);
	while (fgets(line, sizeof(line), maps)) {
		unsigned long long from, to, offset, inode;
		unsigned int major, minor;

		if (sscanf(line, "%llx-%llx %*s %llx %x:%x %llu", &from, &to, &offset, &major,
			   &minor, &inode) != 6 ||
		    inode != st.st_ino || makedev(major, minor) != st.st_dev)
			continue;
		bool inside = offset == 0 && to - from == 4096;

		for (int i = 0; i < 2; i++)
			inside |= windows[i].at && from >= (uintptr_t)windows[i].at &&
				  to <= (uintptr_t)windows[i].at + windows[i].size &&
				  offset == DATA + from - (uintptr_t)windows[i].at;
		if (inside)
			continue;
		note("  mapped outside of the windows: %.100s", line);
		good = false;
	}
	fclose(maps);
}

static void calls(int fd)
{
	static struct mshare_mapping list[TABLE_MAX];
	struct mshare_info info;
	size_t count = TABLE_MAX, P = page();
	void *w;

	memset(&info, 0, sizeof(info));
	TRY(mshare_info(fd, &info, sizeof(info)));
	if (TRY(mshare_mappings(fd, list, sizeof(list[0]), &count)))
		for (size_t i = 0; i < count; i++)
			if (list[i].offset % P || list[i].length % P || !list[i].length ||
			    list[i].offset > info.window ||
			    list[i].length > info.window - list[i].offset) {
				note("  mshare_mappings gave %#" PRIx64 " + %#" PRIx64,
				     list[i].offset, list[i].length);
				good = false;
			}
	int prot = below(2) ? RW : PROT_READ, flags = below(2) ? MSHARE_ATTACH_ANYWHERE : 0;

	if (TRY(w = mshare_attach(fd, NULL, prot, flags))) {
		/* A lie may have been told between the two, but not here. */
		windows[1].at = w;
		windows[1].size = info.window;
	} else {
		w = NULL;
	}
	for (int i = 0; i < 4; i++) {
		size_t offset = below(64) * P, length = (1 + below(16)) * P;

		switch (below(5)) {
		case 0:
			TRY(mshare_map(fd, offset, length, RW, (int)below(2), -1, 0));
			break;
		case 1:
			TRY(mshare_unmap(fd, offset, length));
			break;
		case 2:
			TRY(mshare_protect(fd, offset, length, (int)below(4)));
			break;
		case 3:
			TRY(mshare_advise(fd, offset, length, MADV_REMOVE));
			break;
		default:
			TRY(mshare_unmap(fd, 0, GIB));
			break;
		}
	}
	if (w) {
		mappings_check(fd);
		/* A probe meets the fault, if any; what it must not is end the process. */
		for (int i = 0; i < 8; i++)
			load(at(w, below(128) * P), NULL);
		TRY(mshare_detach(w));
		windows[1].at = NULL;
	}
	if (below(4) == 0)
		TRY(mshare_reserve(fd, NULL, GIB));
}

static struct control pristine;

static void round_run(uint64_t seed, uint64_t number, enum kind *kind)
{
	struct control c = pristine;
	char name[64], *w = NULL;
	int fd;

	random_state = seed + number * UINT64_C(0x632be59bd9b4e019);
	*kind = (enum kind)(number % KINDS);
	bool live = below(2), right = below(4) != 0;

	snprintf(name, sizeof(name), "fuzz-%d", (int)getpid());
	fd = mshare_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	must(fd >= 0 && mshare_unlink(name) == 0);
	mutate(&c, *kind);
	if (below(4) == 0)
		mutate(&c, (enum kind)below(KINDS));
	if (right)
		checksums(&c);
	if (live) {
		control_write(fd, &pristine);
		w = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE);
		must(w != MAP_FAILED && load(w, NULL) == 0);
		windows[0].at = w;
		windows[0].size = GIB;
	}
	control_write(fd, &c);
	if (w) {
		/* What a publisher would do; the file may be too short for it. */
		char *words = mmap(NULL, 4096, RW, MAP_SHARED, fd, 0);

		must(words != MAP_FAILED);
		syscall(SYS_futex, words + 64, 1 /* FUTEX_WAKE */, INT_MAX, NULL, NULL, 0);
		munmap(words, 4096);
	}
	calls(fd);
	if (w) {
		struct mshare_info info = {.attachment_errno = 0};

		if (TRY(mshare_info(fd, &info, sizeof(info))) && info.attachment_errno) {
			if (!allowed(info.attachment_errno)) {
				note("  given up for errno %d", info.attachment_errno);
				good = false;
			}
			for (size_t i = 0; i < 64; i++)
				if (load(w + i * page(), NULL) == 0) {
					note("  given up for errno %d, and page %zu accessible",
					     info.attachment_errno, i);
					good = false;
				}
		}
		mappings_check(fd);
		must(mshare_detach(w) == 0);
		windows[0].at = NULL;
	}
	/* Of a file too short for a futex the thread may remain, and its page. */
	mappings_check(fd);
	close(fd);
}

/* One lie each, with all checksums right. What it is about decides who must refuse. */
enum lie {
	NO_MAGIC,
	OTHER_VERSION,
	NO_WINDOW,
	WINDOW_UNALIGNED,
	WINDOW_OF_ANOTHER_SIZE,
	WINDOW_PAST_THE_END,
	NO_BASE,
	BASE_UNALIGNED,
	BASE_PAST_THE_END,
	TABLE_OF_ANOTHER_GENERATION,
	GENERATION_PAST_THE_LIMIT,
	TOO_MANY_ENTRIES,
	ENTRY_PAST_THE_WINDOW,
	POPULATE_PAST_THE_WINDOW,
	SETTLED_AHEAD,
	SETTLED_TWO_BEHIND,
	PUNCH_PAST_THE_WINDOW,
	PUNCH_THAT_OVERFLOWS,
	TABLE_ROOM_TOO_LARGE,
	LIES,
};

static const char *const lie_names[] = {
	"no magic",
	"another version",
	"a window of 0",
	"a window that is not aligned",
	"a window that is not the file's size",
	"a window larger than the address space",
	"a base of 0",
	"a base that is not aligned",
	"a base so high that the window ends past the address space",
	"a table of another generation than the word's",
	"a generation past the limit",
	"a count past the limit",
	"an entry past the window",
	"a populate range past the window",
	"a settled generation ahead of the table's",
	"a settled generation two behind the table's",
	"a punch range past the window",
	"a punch range that overflows",
	"more table room than there is",
};

static void lie_tell(struct control *c, enum lie lie)
{
	struct table *t = &c->tables[c->words[0] & 1];

	switch (lie) {
	case NO_MAGIC:
		c->header.magic ^= 1;
		break;
	case OTHER_VERSION:
		c->header.version++;
		break;
	case NO_WINDOW:
		c->header.window = 0;
		c->size = DATA;
		break;
	case WINDOW_UNALIGNED:
		c->header.window += 4096;
		c->size += 4096;
		break;
	case WINDOW_OF_ANOTHER_SIZE:
		c->header.window += GIB;
		break;
	case WINDOW_PAST_THE_END:
		c->header.window = 2 * TOP;
		c->size = DATA + c->header.window;
		break;
	case NO_BASE:
		c->header.base = 0;
		break;
	case BASE_UNALIGNED:
		c->header.base += 4096;
		break;
	case BASE_PAST_THE_END:
		c->header.base = TOP;
		break;
	case TABLE_OF_ANOTHER_GENERATION:
		t->generation += 2;
		break;
	case GENERATION_PAST_THE_LIMIT:
		t->generation += UINT64_C(1) << 50;
		c->state.settled = t->generation;
		break;
	case TOO_MANY_ENTRIES:
		t->count = TABLE_MAX + 1;
		break;
	case ENTRY_PAST_THE_WINDOW:
		t->entries[t->count - 1].length = GIB;
		break;
	case POPULATE_PAST_THE_WINDOW:
		t->populate_offset = GIB - 4096;
		t->populate_length = 8192;
		break;
	case SETTLED_AHEAD:
		c->state.settled++;
		break;
	case SETTLED_TWO_BEHIND:
		c->state.settled -= 2;
		break;
	case PUNCH_PAST_THE_WINDOW:
		c->state.punch_offset = GIB - 4096;
		c->state.punch_length = 8192;
		break;
	case PUNCH_THAT_OVERFLOWS:
		c->state.punch_offset = 4096;
		c->state.punch_length = UINT64_MAX - 4095;
		break;
	case TABLE_ROOM_TOO_LARGE:
		c->state.table_room = TABLE_ROOM + 4096;
		break;
	case LIES:
		break;
	}
}

static void lies(void)
{
	for (enum lie lie = 0; lie < LIES; lie++) {
		const char *what = lie_names[lie];
		struct control c = pristine;
		int err = lie <= OTHER_VERSION ? EINVAL : EUCLEAN;
		int fd = mshare_open("lie", O_RDWR | O_CREAT | O_EXCL, 0600);
		struct mshare_info info;

		must(fd >= 0 && mshare_unlink("lie") == 0);
		lie_tell(&c, lie);
		checksums(&c);
		control_write(fd, &c);
		check_error(mshare_map(fd, 1000 * page(), page(), RW, 0, -1, 0), err, "%s: map",
			    what);
		check_error(mshare_unmap(fd, 0, page()), err, "%s: unmap", what);
		/* Who only looks or attaches has no business with the modifiers' state. */
		if (lie < SETTLED_AHEAD) {
			check_error((int64_t)mshare_attach(fd, NULL, RW, 0), err, "%s: attach",
				    what);
			check_error(mshare_info(fd, &info, sizeof(info)), err, "%s: info", what);
		}
		check_error(mshare_reserve(fd, NULL, GIB),
			    lie <= OTHER_VERSION                ? EINVAL
			    : lie < TABLE_OF_ANOTHER_GENERATION ? EUCLEAN
								: EEXIST,
			    "%s: reserve", what);
		struct control after;

		control_read(fd, &after);
		check(after.size == c.size && !memcmp(&after.header, &c.header, sizeof(c.header)) &&
			      !memcmp(after.tables, c.tables, sizeof(c.tables)),
		      "%s: nothing has changed", what);
		close(fd);
	}

	/* Zeros are what a reserve that died leaves, but not in a file of any other size. */
	char zeros[8192] = {0};
	int fd = mshare_open("lie", O_RDWR | O_CREAT | O_EXCL, 0600);

	must(fd >= 0 && mshare_unlink("lie") == 0);
	zeros[8000] = 'x';
	must(write(fd, zeros, sizeof(zeros)) == sizeof(zeros));
	check_error(mshare_reserve(fd, NULL, GIB), EINVAL,
		    "a file that begins with zeros: reserve");
	check_error((int64_t)mshare_attach(fd, NULL, RW, 0), EINVAL, "attach");
	must(pread(fd, zeros, sizeof(zeros), 0) == sizeof(zeros));
	check(zeros[8000] == 'x', "it is as it was");
	close(fd);
}

struct shared {
	uint64_t number; /* of the round that is being run */
	enum kind kind;
	uint64_t failed[KINDS], rounds[KINDS];
};

static uint64_t setting(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	uint64_t seed = setting("MSHARE_FUZZ_SEED", 1);
	uint64_t first = setting("MSHARE_FUZZ_FIRST", 0);
	uint64_t rounds = setting("MSHARE_FUZZ_ROUNDS", TEST_ASAN || TEST_TSAN ? 600 : 3000);
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	must(shared != MAP_FAILED);
	int fd = region_new(unique("pristine"), GIB);
	struct statvfs fs;

	must(fstatvfs(fd, &fs) == 0);
	noexec = fs.f_flag & ST_NOEXEC;
	for (size_t i = 0; i < 8; i++)
		must(mshare_map(fd, i * 8 * page(), 4 * page(), i % 3 ? RW : PROT_READ, 0, -1, 0) ==
		     0);
	control_read(fd, &pristine);
	struct control again = pristine;

	checksums(&again);
	/* Where the table of generation g - 1 is untouched, too. */
	check(!memcmp(&again, &pristine, sizeof(again)),
	      "the checksums are computed as the library does");
	lies();
	note("seed %" PRIu64 ", rounds %" PRIu64 " from %" PRIu64, seed, rounds, first);
	mshare_set_timeout(30);
	probe_prepare();
	for (uint64_t next = first; next < first + rounds;) {
		pid_t pid = fork();

		must(pid >= 0);
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (uint64_t i = next; i < first + rounds && i < next + 100; i++) {
				good = true;
				shared->number = i;
				shared->kind = (enum kind)(i % KINDS);
				round_run(seed, i, &shared->kind);
				shared->rounds[shared->kind]++;
				if (!good) {
					note("round %" PRIu64 " failed (%s)", i,
					     kind_names[shared->kind]);
					shared->failed[shared->kind]++;
				}
			}
			_exit(0);
		}
		int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), status = 0;
		struct pollfd pfd = {.fd = pidfd, .events = POLLIN};

		must(pidfd >= 0);
		/* A hundred rounds take a second, on most machines. */
		bool hangs = false;

		for (uint64_t at = 0; !hangs && poll(&pfd, 1, 60000) == 0; at = shared->number)
			hangs = at == shared->number;
		if (hangs)
			kill(pid, SIGKILL);
		must(waitpid(pid, &status, 0) == pid);
		close(pidfd);
		next += 100;
		if (hangs || !exited(status, 0)) {
			note("round %" PRIu64 " (%s) %s: status %#x", shared->number,
			     kind_names[shared->kind], hangs ? "hangs" : "ended the process",
			     status);
			shared->failed[shared->kind]++;
			next = shared->number + 1;
		}
	}
	for (int i = 0; i < KINDS; i++)
		check(shared->failed[i] == 0, "%s: %" PRIu64 " rounds, %" PRIu64 " failed",
		      kind_names[i], shared->rounds[i], shared->failed[i]);
	close(fd);
	return done();
}
