// SPDX-License-Identifier: MIT
/*
 * The msharefs back end: regions of a kernel that shares page tables, and the one
 * file that knows its ABI (linux/msharefs.h). The kernel does the work; what is
 * here turns its answers into this library's, and keeps a list of this process's
 * attachments, for two purposes: the kernel wants the length of a window to unmap
 * it, and MSHARE_ATTACH_REUSE counts users.
 *
 * THE LIST CAN BE WRONG. munmap() of a whole window is a legal way to detach, and
 * the kernel does not tell. So before an entry is used, /proc/self/maps is asked
 * (PROCMAP_QUERY: one address, at no more cost for a process with many mappings)
 * whether the region is there still, whole. What has come to lie there instead is
 * somebody else's and left alone; the entry goes. Where it cannot be asked, for
 * lack of /proc or of a descriptor, the list is believed. A new attachment proves
 * that what the list had in its place is gone.
 *
 * LOCKS: one, over the list, held from before a window is mapped until it is
 * listed (and marked MADV_DONTFORK, if it is to be), and while it is unmapped.
 * fork() takes it, so that a child has the windows its list says.
 */
#include "adopt.h"
#include "backend.h"
#include "base.h"
#include "memory.h"

#include <fcntl.h>
#include <linux/msharefs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* For libcs older than the kernel calls. */
#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

/* linux/fs.h, from Linux 6.11 on. */
struct map_query {
	uint64_t size;
	uint64_t query_flags;
	uint64_t query_addr;
	uint64_t vma_start;
	uint64_t vma_end;
	uint64_t vma_flags;
	uint64_t vma_page_size;
	uint64_t vma_offset;
	uint64_t inode;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint32_t vma_name_size;
	uint32_t build_id_size;
	uint64_t vma_name_addr;
	uint64_t build_id_addr;
};
#define MAP_QUERY _IOWR('f', 17, struct map_query)

/* --- failures ----------------------------------------------------------------------------- */

static int fail_window(int fd, const char *verb)
{
	return fail(ENODATA,
		    "%s: the region of descriptor %d has no window yet; mshare_reserve() gives it "
		    "one",
		    verb, fd);
}

static int fail_no_region(int fd, const char *verb)
{
	return fail(EINVAL, "%s: descriptor %d is no region: it is another file of a msharefs",
		    verb, fd);
}

/* How many mappings this system lets a region have, or SIZE_MAX. */
static size_t mappings_most(void)
{
	FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
	size_t most = SIZE_MAX;

	if (file) {
		if (fscanf(file, "%zu", &most) != 1)
			most = SIZE_MAX;
		fclose(file);
	}
	return most;
}

/* No memory for a change (of length bytes more), or no room for one more mapping? */
static int fail_memory(int fd, int err, uint64_t length, const char *verb)
{
	struct mshare_region_info info;
	size_t most = mappings_most();

	/* An edit can take two at once, and the kernel may keep one apart that it lists as one. */
	if (err == ENOMEM && ioctl(fd, MSHAREFS_GET_INFO, &info) == 0 &&
	    (size_t)info.mappings + 3 >= most)
		return fail(E2BIG,
			    "%s: the region has %u mappings, and %zu are the most "
			    "(vm.max_map_count)",
			    verb, info.mappings, most);
	if (!length)
		return fail(err, "%s: the kernel has no memory for the change", verb);
	return memory_fail(fd, err, length, verb);
}

static bool past_window(int fd, uint64_t offset, uint64_t length, uint64_t *window)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &st) == -1)
		return false;
	*window = st.stx_size;
	return offset > st.stx_size || length > st.stx_size - offset;
}

/* A change that the kernel refused. */
static int fail_change(int fd, int err, uint64_t offset, uint64_t length, const char *verb)
{
	unsigned long long start = offset, end = start + length;
	uint64_t window;

	if (err == EINVAL && past_window(fd, offset, length, &window))
		return fail(err,
			    "%s: offset 0x%llx plus length 0x%llx is past the window, which has "
			    "0x%llx bytes",
			    verb, start, (unsigned long long)length, (unsigned long long)window);
	switch (err) {
	case ENODATA:
		return fail_window(fd, verb);
	case EEXIST:
		return fail(err, "%s: something is mapped already at 0x%llx … 0x%llx", verb, start,
			    end);
	default:
		return fail(err, "%s: the kernel refuses the change of 0x%llx … 0x%llx", verb,
			    start, end);
	}
}

/*
 * 0, or an errno of the kernel's, or -1 after fail() where it is the descriptor that cannot be
 * used: looked at only now, since that takes a small change as long as half of its ioctl.
 */
static int change(int fd, unsigned long request, void *argument, const char *verb)
{
	int err;

	if (ioctl(fd, request, argument) == 0)
		return 0;
	err = errno;
	return change_check(fd, &backend_msharefs, verb) == -1 ? -1 : err;
}

/* --- changing a region -------------------------------------------------------------------- */

static int msharefs_create(int root, mode_t mode)
{
	static const char verb[] = "mshare_create";
	int fd = openat(root, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd == -1)
		return fail(errno,
			    "%s: cannot make a file without a name in the root directory, which "
			    "has to be one that you may write",
			    verb);
	/* As it is asked for, whatever the umask. */
	if (fchmod(fd, mode) == -1) {
		fail(errno, "%s: cannot give the region mode %03o", verb, mode);
		close(fd);
		errno = mshare_errno();
		return -1;
	}
	return fd;
}

static int msharefs_window(int fd, uint64_t *base, uint64_t *size)
{
	struct mshare_base recorded = {0};
	struct statx st;

	*base = *size = 0;
	if (ioctl(fd, MSHAREFS_GET_BASE, &recorded) == -1)
		return errno == ENOTTY ? EINVAL : errno;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &st) == -1)
		return errno;
	if (!st.stx_size)
		return ENODATA;
	*base = recorded.base;
	*size = st.stx_size;
	return 0;
}

static int window_fail(int err, int fd, const char *verb)
{
	switch (err) {
	case ENODATA:
		return fail_window(fd, verb);
	case EINVAL:
		return fail_no_region(fd, verb);
	default:
		return fail(err, "%s: cannot ask what the window of descriptor %d's region is",
			    verb, fd);
	}
}

static int msharefs_reserve(int fd, uint64_t base, uint64_t size)
{
	static const char verb[] = "mshare_reserve";
	struct mshare_reserve reserve = {.size = size};
	uint64_t has_base, has_size;
	int err, cancel;

	if (change_check(fd, &backend_msharefs, verb) == -1)
		return -1;
	err = msharefs_window(fd, &has_base, &has_size);
	if (err == ENODATA) {
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
		reserve.base = base ? base : base_choose(size);
		pthread_setcancelstate(cancel, NULL);
		if (!reserve.base)
			return fail(
				ENOMEM,
				"%s: no base could be chosen for a window of 0x%llx bytes; give "
				"one",
				verb, (unsigned long long)size);
		err = ioctl(fd, MSHAREFS_RESERVE, &reserve) == -1 ? errno : 0;
		if (err == EEXIST)
			/* Another was faster. */
			err = msharefs_window(fd, &has_base, &has_size);
		else if (err)
			return fail(err,
				    "%s: the kernel refuses a window of 0x%llx bytes at 0x%llx",
				    verb, (unsigned long long)size,
				    (unsigned long long)reserve.base);
		else
			return 0;
	}
	if (err)
		return window_fail(err, fd, verb);
	return fail(EEXIST, "%s: the region has its window already: 0x%llx bytes at 0x%llx", verb,
		    (unsigned long long)has_size, (unsigned long long)has_base);
}

static int fail_backing(int err, int backing_fd, const char *verb)
{
	const char *why = "the kernel refuses the file";

	switch (err) {
	case EACCES:
		why = "it is not open as prot needs it, or append-only";
		break;
	case EBADF:
		why = "it is not open, or opened with O_PATH";
		break;
	case EINVAL:
		why = "its offset is no multiple of the page size, or its file system has a say "
		      "against it";
		break;
	case ENODEV:
		why = "what it is of cannot be mapped at all";
		break;
	case EOPNOTSUPP:
		why = "files of block devices' file systems, of a tmpfs and of memfd_create() can "
		      "back a region, and it is none of these";
		break;
	case EPERM:
		why = "it is sealed against it, or on a file system mounted noexec";
		break;
	case ETXTBSY:
		why = "it is in use as swap, and to be mapped writable";
		break;
	case EOVERFLOW:
	case EFBIG:
		why = "the range is beyond what files can have";
		break;
	}
	return fail(err, "%s: descriptor %d cannot back the mapping: %s", verb, backing_fd, why);
}

static int map_change(int fd, uint64_t offset, uint64_t length, int prot, int flags, int backing_fd,
		      off_t backing_offset, const char *verb)
{
	struct mshare_create create = {
		.region_offset = offset,
		.size = length,
		.offset = (uint64_t)backing_offset,
		.prot = (uint32_t)prot,
		.flags = MAP_SHARED | MAP_FIXED,
		.fd = (uint32_t)backing_fd,
	};
	uint64_t window;
	int err;

	if (exec_check(fd, prot, verb) == -1)
		return -1;
	if (backing_fd == -1)
		create.flags |= MAP_ANONYMOUS;
	if (flags & MSHARE_MAP_NORESERVE)
		create.flags |= MAP_NORESERVE;
	if (flags & MSHARE_MAP_POPULATE)
		create.flags |= MAP_POPULATE;
	err = change(fd, MSHAREFS_CREATE_MAPPING, &create, verb);
	if (err <= 0)
		return err;
	if (err == ENOSPC || err == ENOMEM || err == EDQUOT)
		return fail_memory(fd, err, length, verb);
	if (backing_fd != -1 && err != ENODATA && err != EEXIST &&
	    !past_window(fd, offset, length, &window))
		return fail_backing(err, backing_fd, verb);
	return fail_change(fd, err, offset, length, verb);
}

static int msharefs_map(int fd, uint64_t offset, uint64_t length, int prot, int flags,
			int backing_fd, off_t backing_offset)
{
	return map_change(fd, offset, length, prot, flags, backing_fd, backing_offset,
			  "mshare_map");
}

static int msharefs_unmap(int fd, uint64_t offset, uint64_t length)
{
	static const char verb[] = "mshare_unmap";
	struct mshare_unmap unmap = {offset, length};
	int err = change(fd, MSHAREFS_UNMAP, &unmap, verb);

	if (err <= 0)
		return err;
	return err == ENOMEM ? fail_memory(fd, err, 0, verb)
			     : fail_change(fd, err, offset, length, verb);
}

/* Does the range have a hole? What cannot be asked is taken for memory. */
static bool has_hole(int fd, uint64_t offset, uint64_t length)
{
	uint64_t at = offset, end = offset + length;

	while (at < end) {
		struct mshare_mapping_entry entries[32];
		struct mshare_list_mappings list = {
			.start = at,
			.entries = (uint64_t)(uintptr_t)entries,
			.count = 32,
		};

		if (ioctl(fd, MSHAREFS_LIST_MAPPINGS, &list) == -1)
			return false;
		if (!list.count)
			return true;
		for (uint32_t i = 0; i < list.count && at < end; i++) {
			if (entries[i].region_offset > at)
				return true;
			at = entries[i].region_offset + entries[i].size;
		}
	}
	return false;
}

static int fail_hole(int fd, int err, uint64_t offset, uint64_t length, const char *verb)
{
	if (err != ENOMEM)
		return fail_change(fd, err, offset, length, verb);
	if (has_hole(fd, offset, length))
		return fail(err, "%s: nothing is mapped in a part of 0x%llx … 0x%llx", verb,
			    (unsigned long long)offset, (unsigned long long)(offset + length));
	return fail_memory(fd, err, 0, verb);
}

static int msharefs_protect(int fd, uint64_t offset, uint64_t length, int prot)
{
	static const char verb[] = "mshare_protect";
	struct mshare_protect protect = {offset, length, (uint32_t)prot, 0};
	int err;

	if (exec_check(fd, prot, verb) == -1)
		return -1;
	err = change(fd, MSHAREFS_PROTECT, &protect, verb);
	if (err <= 0)
		return err;
	if (err == EACCES)
		return fail(
			err,
			"%s: a file is mapped in 0x%llx … 0x%llx that was not open for what prot "
			"0x%x allows",
			verb, (unsigned long long)offset, (unsigned long long)(offset + length),
			(unsigned int)prot);
	return fail_hole(fd, err, offset, length, verb);
}

static int msharefs_advise(int fd, uint64_t offset, uint64_t length, int advice)
{
	static const char verb[] = "mshare_advise";
	struct mshare_advise advise = {offset, length, (uint32_t)advice, 0};
	int err;

	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_DONTNEED:
	case MADV_REMOVE:
	case MADV_COLD:
	case MADV_PAGEOUT:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		break;
	case MADV_MERGEABLE:
	case MADV_UNMERGEABLE:
		return fail(EOPNOTSUPP, "%s: shared memory has no pages to merge (advice %d)", verb,
			    advice);
	default:
		return fail(EINVAL, "%s: advice %d is unknown or not about a region", verb, advice);
	}
	err = change(fd, MSHAREFS_ADVISE, &advise, verb);
	if (err <= 0)
		return err;
	/* A touch that cannot be paid for would have been SIGBUS. */
	if ((advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE) &&
	    (err == EFAULT || (err == ENOMEM && !has_hole(fd, offset, length))))
		return memory_fail(fd, ENOMEM, length, verb);
	if (err == EOPNOTSUPP)
		return fail(
			err,
			"%s: a file is mapped in 0x%llx … 0x%llx, and advice %d is about memory",
			verb, (unsigned long long)offset, (unsigned long long)(offset + length),
			advice);
	return fail_hole(fd, err, offset, length, verb);
}

/* --- attachments -------------------------------------------------------------------------- */

struct attachment {
	struct attachment *next;
	struct identity identity;
	uint64_t address, window;
	int prot;
	bool nofork;
	uint32_t users;
};

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct attachment *list;

static void list_remove(struct attachment **link)
{
	struct attachment *a = *link;

	*link = a->next;
	free(a);
}

/*
 * Is the attachment there? False if the kernel says that its addresses have
 * another mapping by now, or none.
 */
static bool still_attached(const struct attachment *a)
{
	struct map_query query = {.size = sizeof(query), .query_addr = a->address};
	int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC), err;

	if (maps == -1)
		return true;
	err = ioctl(maps, MAP_QUERY, &query) == -1 ? errno : 0;
	close(maps);
	if (err)
		return err != ENOENT;
	return query.vma_start == a->address && query.vma_end == a->address + a->window &&
	       query.inode == a->identity.inode && query.dev_major == a->identity.major &&
	       query.dev_minor == a->identity.minor;
}

/* The attachments that the kernel has put another in the place of. */
static void list_overwritten(uint64_t address, uint64_t window)
{
	struct attachment **link = &list;

	while (*link) {
		if ((*link)->address < address + window &&
		    address < (*link)->address + (*link)->window)
			list_remove(link);
		else
			link = &(*link)->next;
	}
}

static void fork_prepare(void)
{
	pthread_mutex_lock(&list_lock);
}

static void fork_done(void)
{
	pthread_mutex_unlock(&list_lock);
}

static void fork_child(void)
{
	struct attachment **link = &list;

	while (*link) {
		if ((*link)->nofork)
			list_remove(link);
		else
			link = &(*link)->next;
	}
	pthread_mutex_unlock(&list_lock);
}

static void fork_register_once(void)
{
	pthread_atfork(fork_prepare, fork_done, fork_child);
}

static void fork_register(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, fork_register_once);
}

/* An attachment that will do for another user; the list is locked. */
static struct attachment *reusable(const struct attachment *wanted, int flags)
{
	struct attachment **link = &list, *a;

	while ((a = *link)) {
		if (identity_equal(&a->identity, &wanted->identity) && a->prot == wanted->prot &&
		    a->nofork == wanted->nofork &&
		    (a->address == wanted->address || !wanted->address ||
		     flags & MSHARE_ATTACH_ANYWHERE)) {
			if (still_attached(a))
				return a;
			list_remove(link);
		} else {
			link = &a->next;
		}
	}
	return NULL;
}

/* Map the window: at address, over nothing; 0: wherever it goes. 0 or an errno. */
static int window_map(int fd, struct attachment *a)
{
	int flags = MAP_SHARED | (a->address ? MAP_FIXED_NOREPLACE : 0);
	void *at = mmap((void *)(uintptr_t)a->address, a->window, a->prot, flags, fd, 0);

	if (at == MAP_FAILED)
		return errno;
	if (a->address && (uint64_t)(uintptr_t)at != a->address) {
		munmap(at, a->window);
		return EEXIST;
	}
	a->address = (uint64_t)(uintptr_t)at;
	return 0;
}

static int fail_attach(int err, const struct attachment *a, const char *verb)
{
	unsigned long long start = a->address, end = start + a->window;

	switch (err) {
	case EEXIST:
		return fail(EADDRINUSE,
			    "%s: something is mapped already in the window's place, 0x%llx … "
			    "0x%llx; MSHARE_ATTACH_ANYWHERE allows another",
			    verb, start, end);
	case EOPNOTSUPP:
		return fail(err,
			    "%s: this process has a virtual machine (KVM) or another device that "
			    "follows its page tables, which cannot follow shared ones",
			    verb);
	case ENOMEM:
	case EAGAIN:
		return fail(err,
			    "%s: no room for a window of 0x%llx bytes at 0x%llx (RLIMIT_AS, "
			    "vm.max_map_count and the size of the address space limit it)",
			    verb, (unsigned long long)a->window, start);
	case EMFILE:
		return fail(err,
			    "%s: this process has attached the region as often as it can; "
			    "mshare_detach() one of these, or use it",
			    verb);
	default:
		return fail(err, "%s: the kernel refuses to map the window at 0x%llx", verb, start);
	}
}

static int attach_listed(int fd, struct attachment *a, bool anywhere, const char *verb)
{
	int err = window_map(fd, a);

	if (err == EEXIST && anywhere) {
		a->address = 0;
		err = window_map(fd, a);
	}
	if (err)
		return fail_attach(err, a, verb);
	list_overwritten(a->address, a->window);
	if (a->nofork && madvise((void *)(uintptr_t)a->address, a->window, MADV_DONTFORK) == -1) {
		err = errno;
		munmap((void *)(uintptr_t)a->address, a->window);
		return fail(err, "%s: the window cannot be kept from children", verb);
	}
	a->next = list;
	list = a;
	return 0;
}

static void *attach(int fd, void *addr, int prot, int flags)
{
	static const char verb[] = "mshare_attach";
	struct attachment *a = calloc(1, sizeof(*a)), *found = NULL;
	void *at = MAP_FAILED;
	uint64_t base;
	int err;

	if (!a) {
		fail(ENOMEM, "%s: no memory", verb);
		return MAP_FAILED;
	}
	err = msharefs_window(fd, &base, &a->window);
	if (!err && !identity_of(fd, &a->identity))
		err = errno;
	if (err) {
		free(a);
		window_fail(err, fd, verb);
		return MAP_FAILED;
	}
	a->address = addr ? (uint64_t)(uintptr_t)addr : base;
	a->prot = prot;
	a->nofork = flags & MSHARE_ATTACH_NOFORK;
	a->users = 1;
	fork_register();

	pthread_mutex_lock(&list_lock);
	if (flags & MSHARE_ATTACH_REUSE)
		found = reusable(a, flags);
	if (found) {
		found->users++;
		at = (void *)(uintptr_t)found->address;
	} else if (attach_listed(fd, a, !addr && flags & MSHARE_ATTACH_ANYWHERE, verb) == 0) {
		at = (void *)(uintptr_t)a->address;
	}
	if (found || at == MAP_FAILED)
		free(a);
	pthread_mutex_unlock(&list_lock);
	return at;
}

static void *msharefs_attach(int fd, void *addr, int prot, int flags)
{
	void *at;
	int cancel;

	/* open() of /proc/self/maps would let a cancelled thread go, with the lock. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	at = attach(fd, addr, prot, flags);
	pthread_setcancelstate(cancel, NULL);
	if (at == MAP_FAILED)
		errno = mshare_errno();
	return at;
}

static int detach(void *addr)
{
	struct attachment **link = &list;

	while (*link && (*link)->address != (uint64_t)(uintptr_t)addr)
		link = &(*link)->next;
	if (!*link)
		return 1;
	if (!still_attached(*link)) {
		list_remove(link);
		return 1;
	}
	if (--(*link)->users > 0)
		return 0;
	if (munmap(addr, (*link)->window) == -1) {
		(*link)->users = 1;
		return fail(errno, "mshare_detach: the kernel refuses to unmap the window at %p",
			    addr);
	}
	list_remove(link);
	return 0;
}

static int msharefs_detach(void *addr)
{
	int result, cancel;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	pthread_mutex_lock(&list_lock);
	result = detach(addr);
	pthread_mutex_unlock(&list_lock);
	pthread_setcancelstate(cancel, NULL);
	return result;
}

/* --- asking ------------------------------------------------------------------------------- */

static int msharefs_info(int fd, struct mshare_info *info)
{
	static const char verb[] = "mshare_info";
	struct mshare_region_info region;

	if (ioctl(fd, MSHAREFS_GET_INFO, &region) == -1)
		return errno == ENOTTY
			       ? fail_no_region(fd, verb)
			       : fail(errno, "%s: cannot ask about descriptor %d", verb, fd);
	info->window = region.window;
	info->base = region.base;
	info->mapped = region.mapped;
	info->resident = region.resident;
	info->page_table_bytes = region.page_table_bytes;
	info->generation = region.generation;
	info->mappings = region.mappings;
	info->attachments = region.attachments;
	/* A change is in force everywhere when it returns, or did not take place. */
	info->stragglers = 0;
	info->attachment_errno = 0;
	return 0;
}

/* One call sees one generation, so all have to fit in one. 0 or an errno. */
static int mappings_list(int fd, struct mshare_mapping_entry **entries, uint32_t *count)
{
	struct mshare_region_info region;
	struct mshare_list_mappings all = {0};
	void *room;

	if (ioctl(fd, MSHAREFS_GET_INFO, &region) == -1)
		return errno;
	*entries = NULL;
	for (all.count = region.mappings + 16;; all.count *= 2) {
		uint32_t asked = all.count;

		room = reallocarray(*entries, asked, sizeof(**entries));
		if (!room) {
			free(*entries);
			return ENOMEM;
		}
		*entries = room;
		all.start = 0;
		all.entries = (uint64_t)(uintptr_t)*entries;
		if (ioctl(fd, MSHAREFS_LIST_MAPPINGS, &all) == -1) {
			int err = errno;

			free(*entries);
			*count = 0;
			/* Nothing can be mapped without a window. */
			*entries = NULL;
			return err == ENODATA ? 0 : err;
		}
		*count = all.count;
		if (all.count < asked)
			return 0;
		all.count = asked;
	}
}

static int msharefs_mappings(int fd, struct mshare_mapping **out, uint32_t *count)
{
	static const char verb[] = "mshare_mappings";
	struct mshare_mapping_entry *entries;
	int err = mappings_list(fd, &entries, count);

	if (err == ENOTTY)
		return fail_no_region(fd, verb);
	if (err)
		return fail(err, "%s: cannot list the mappings of descriptor %d", verb, fd);
	*out = calloc((size_t)*count + 1, sizeof(**out));
	for (uint32_t i = 0; *out && i < *count; i++)
		(*out)[i] = (struct mshare_mapping){
			.offset = entries[i].region_offset,
			.length = entries[i].size,
			.prot = entries[i].prot,
			.flags = entries[i].flags & MAP_NORESERVE ? MSHARE_MAP_NORESERVE : 0,
		};
	free(entries);
	return *out ? 0 : fail(ENOMEM, "%s: no memory", verb);
}

/* --- mshare() ----------------------------------------------------------------------------- */

/* A view of our own, elsewhere, not listed. NULL after fail(). */
static char *view_open(int fd, const struct adoption *adoption)
{
	struct attachment view = {.window = adoption->window, .prot = PROT_READ | PROT_WRITE};
	int err = window_map(fd, &view);

	if (!err)
		return (char *)(uintptr_t)view.address;
	fail_attach(err, &view, "mshare");
	return NULL;
}

/* For source_copy(): read(2) into the view, for which no memory is EFAULT and no signal. */
static int pages_read(void *context, int memory, uint64_t address, uint64_t offset, uint64_t length)
{
	char *view = context;

	return read_all(memory, view + offset, length, address);
}

static int msharefs_fill(int fd, const struct adoption *adoption)
{
	static const char verb[] = "mshare";
	struct source source;
	uint64_t bytes = 0;
	char *view;
	int err = 0;

	for (uint32_t i = 0; i < adoption->table.count; i++) {
		const struct entry *entry = &adoption->table.entries[i];

		if (map_change(fd, entry->offset, entry->length, PROT_READ | PROT_WRITE,
			       (int)entry->flags, -1, 0, verb) == -1 ||
		    exec_check(fd, (int)entry->prot, verb) == -1)
			return -1;
		bytes += entry->length;
	}
	if (source_open(&source, verb) == -1)
		return -1;
	view = view_open(fd, adoption);
	if (!view) {
		source_close(&source);
		return -1;
	}
	for (uint32_t i = 0; i < adoption->table.count && !err; i++)
		err = source_copy(&source, adoption, &adoption->table.entries[i], pages_read, view);
	munmap(view, adoption->window);
	source_close(&source);
	if (err)
		return err == EFAULT
			       ? memory_fail(fd, ENOMEM, bytes, verb)
			       : fail(err,
				      "%s: cannot copy the memory that is there into the region",
				      verb);
	for (uint32_t i = 0; i < adoption->table.count; i++) {
		const struct entry *entry = &adoption->table.entries[i];

		if (entry->prot != (PROT_READ | PROT_WRITE) &&
		    msharefs_protect(fd, entry->offset, entry->length, (int)entry->prot) == -1)
			return -1;
	}
	return 0;
}

/* For adoption_undo(): by a system call, for which a page that is not there is no signal. */
static void segment_fetch(void *context, const struct entry *segment, void *to)
{
	char *view = context;

	for (uint64_t done = 0; done < segment->length;) {
		struct iovec here = {(char *)to + done, segment->length - done};
		struct iovec there = {view + segment->offset + done, segment->length - done};
		ssize_t n = process_vm_readv(getpid(), &here, 1, &there, 1, 0);

		if (n <= 0)
			break;
		done += (uint64_t)n;
	}
}

/* Has a mmap() that failed unmapped what it was to replace? It does so to all or nothing. */
static bool segments_lost(const struct adoption *adoption)
{
	unsigned char in_core;

	return adoption->table.count &&
	       mincore((void *)(uintptr_t)(adoption->base + adoption->table.entries[0].offset),
		       page_size(), &in_core) == -1;
}

/* Once more from the region, which has every byte. */
static void segments_return(int fd, const struct adoption *adoption, char *view)
{
	for (uint32_t i = 0; i < adoption->table.count; i++) {
		const struct entry *entry = &adoption->table.entries[i];

		msharefs_protect(fd, entry->offset, entry->length, PROT_READ | PROT_WRITE);
	}
	adoption_undo(adoption, adoption->table.count, segment_fetch, view);
}

static int msharefs_replace(int fd, const struct adoption *adoption)
{
	static const char verb[] = "mshare";
	struct attachment *a = calloc(1, sizeof(*a));
	void *place = (void *)(uintptr_t)adoption->base;
	char *view;
	int err;

	if (!a || !identity_of(fd, &a->identity)) {
		free(a);
		return fail(ENOMEM, "%s: no memory", verb);
	}
	view = view_open(fd, adoption);
	if (!view) {
		free(a);
		return -1;
	}
	*a = (struct attachment){
		.identity = a->identity,
		.address = adoption->base,
		.window = adoption->window,
		.prot = PROT_READ | PROT_WRITE,
		.users = 1,
	};
	fork_register();
	pthread_mutex_lock(&list_lock);
	err = test_point("adopt-mid");
	if (!err && mmap(place, a->window, a->prot, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		err = errno;
	if (!err) {
		list_overwritten(a->address, a->window);
		a->next = list;
		list = a;
	}
	pthread_mutex_unlock(&list_lock);
	if (err) {
		if (segments_lost(adoption))
			segments_return(fd, adoption, view);
		fail_attach(err, a, verb);
		free(a);
	}
	munmap(view, adoption->window);
	return err ? -1 : 0;
}

const struct backend backend_msharefs = {
	.id = MSHARE_BACKEND_MSHAREFS,
	.capabilities = MSHARE_CAP_SHARED_PAGE_TABLES | MSHARE_CAP_FILE_BACKING |
			MSHARE_CAP_REFUSES_RAW_CALLS,
	.mappings_limit = SIZE_MAX,
	.create = msharefs_create,
	.window = msharefs_window,
	.reserve = msharefs_reserve,
	.map = msharefs_map,
	.unmap = msharefs_unmap,
	.protect = msharefs_protect,
	.advise = msharefs_advise,
	.attach = msharefs_attach,
	.detach = msharefs_detach,
	.info = msharefs_info,
	.mappings = msharefs_mappings,
	.fill = msharefs_fill,
	.replace = msharefs_replace,
};
