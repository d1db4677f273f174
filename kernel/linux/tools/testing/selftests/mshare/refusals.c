// SPDX-License-Identifier: GPL-2.0-only
/*
 * An attachment is a unit. What would edit the shared page tables through the
 * address space of one attacher is refused, or passes the attachment by, and
 * nobody else notices: after each call the contents are as they were, there and
 * with another attacher, without a fault. What would have to be told of changes
 * and cannot be (KVM) is kept away.
 */
#include <linux/kvm.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>

#include "mshare_test.h"

#ifndef PAGEMAP_SCAN
#define PAGEMAP_SCAN	_IOWR('f', 16, struct pm_scan_arg)

#define PM_SCAN_WP_MATCHING	(1 << 0)
#define PAGE_IS_WRITTEN		(1 << 1)
#define PAGE_IS_PRESENT		(1 << 3)

struct page_region {
	__u64 start, end, categories;
};

struct pm_scan_arg {
	__u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
	__u64 category_inverted, category_mask, category_anyof_mask, return_mask;
};
#endif

#define PAGES	16

FIXTURE(refusals) {
	struct env env;
	int fd;
	char *map;
	size_t size;
	struct peer peer;
};

FIXTURE_SETUP(refusals)
{
	char *place;

	self->size = PAGES * psize;
	ENV_ENTER(&self->env, NULL);
	self->fd = region_new(self->env.dir, "region", 2 * SLOT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, region_map(self->fd, 0, self->size, RW));
	ASSERT_EQ(0, region_map(self->fd, SLOT, self->size, RW));
	/* Room on both sides, so that what grows would not hit somebody. */
	place = mmap(NULL, 8 * SLOT, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, place);
	ASSERT_EQ(0, munmap(place, 8 * SLOT));
	place = (char *)(((uintptr_t)place + 3 * SLOT - 1) & -SLOT);
	self->map = region_attach(self->fd, place, RW);
	ASSERT_EQ(place, self->map);
	fill_pages(self->map, self->size, 1);
	fill_pages(self->map + SLOT, self->size, 2);
	ASSERT_EQ(0, peer_start(&self->peer));
	ASSERT_EQ(0, peer_call(&self->peer, do_check, (long)self->map,
			       self->size, 1));
	ASSERT_EQ(0, peer_call(&self->peer, do_check, (long)self->map + SLOT,
			       self->size, 2));
}

FIXTURE_TEARDOWN(refusals)
{
	ENV_LEAVE(&self->env);
}

/* Faults that writing again takes: an entry that was touched costs one. */
static long rewrite(long addr, long size, long unused)
{
	long before;
	uint64_t value;

	/* for its own sake, before it counts */
	before = minflt();
	before = minflt();
	for (long i = 0; i < size; i += psize) {
		value = peek((void *)(addr + i));
		poke((void *)(addr + i), value);
	}
	return minflt() - before;
}

#define UNTOUCHED() do { \
	EXPECT_EQ(0, check_pages(self->map, self->size, 1)); \
	EXPECT_EQ(0, check_pages(self->map + SLOT, self->size, 2)); \
	EXPECT_EQ(0, peer_call(&self->peer, do_check, (long)self->map, \
			       self->size, 1)); \
	EXPECT_EQ(0, peer_call(&self->peer, do_check, (long)self->map + SLOT, \
			       self->size, 2)); \
	EXPECT_EQ(0, peer_call(&self->peer, rewrite, (long)self->map, \
			       self->size, 0)); \
	EXPECT_EQ(2, region_info(self->fd).attachments); \
	EXPECT_TRUE(is_mapped(self->map)); \
} while (0)

#define REFUSED(error, call) do { \
	EXPECT_EQ(-1, (long)(call)); \
	EXPECT_EQ(error, errno); \
} while (0)

TEST_F(refusals, munmap_in_part)
{
	REFUSED(EINVAL, munmap(self->map, psize));
	REFUSED(EINVAL, munmap(self->map, SLOT));
	REFUSED(EINVAL, munmap(self->map + SLOT, SLOT));
	REFUSED(EINVAL, munmap(self->map + psize, psize));
	REFUSED(EINVAL, munmap(self->map + psize, 2 * SLOT));
	REFUSED(EINVAL, munmap(self->map - psize, 2 * psize));
	REFUSED(EINVAL, munmap(self->map - psize, 2 * SLOT));
	UNTOUCHED();
}

TEST_F(refusals, munmap_with_neighbours)
{
	char *second, *below, *above;

	below = mmap(self->map - psize, psize, RW, MAP_PRIVATE | MAP_ANONYMOUS |
		     MAP_FIXED_NOREPLACE, -1, 0);
	ASSERT_EQ(self->map - psize, below);
	second = region_attach(self->fd, self->map + 2 * SLOT, RW);
	ASSERT_EQ(self->map + 2 * SLOT, second);
	poke(below, 3);
	/* One whole and half of the next: neither, nor what is beside. */
	REFUSED(EINVAL, munmap(below, psize + 3 * SLOT));
	EXPECT_EQ(3, peek(below));
	EXPECT_EQ(3, region_info(self->fd).attachments);
	EXPECT_EQ(0, check_pages(second, self->size, 1));
	EXPECT_EQ(0, munmap(second, 2 * SLOT));
	UNTOUCHED();
	/* The whole of it and what is on both sides. */
	above = mmap(self->map + 2 * SLOT, psize, RW, MAP_PRIVATE |
		     MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	ASSERT_EQ(self->map + 2 * SLOT, above);
	EXPECT_EQ(0, munmap(below, 2 * SLOT + 2 * psize));
	EXPECT_EQ(1, region_info(self->fd).attachments);
	EXPECT_EQ(SIG(SIGSEGV), do_read((long)below, 0, 0));
	EXPECT_EQ(SIG(SIGSEGV), do_read((long)self->map, 0, 0));
}

TEST_F(refusals, map_over_a_part)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;

	REFUSED(EINVAL, mmap(self->map, psize, RW, flags, -1, 0));
	REFUSED(EINVAL, mmap(self->map + psize, psize, RW, flags, -1, 0));
	REFUSED(EINVAL, mmap(self->map + SLOT, SLOT, RW, flags, -1, 0));
	REFUSED(EINVAL, mmap(self->map - psize, SLOT, RW, flags, -1, 0));
	REFUSED(EINVAL, mmap(self->map + SLOT, 2 * SLOT, RW, flags, -1, 0));
	/* Another attachment that overlaps by a slot. */
	REFUSED(EINVAL, mmap(self->map + SLOT, 2 * SLOT, RW,
			     MAP_SHARED | MAP_FIXED, self->fd, 0));
	REFUSED(EEXIST, mmap(self->map, psize, RW, (flags & ~MAP_FIXED) |
			     MAP_FIXED_NOREPLACE, -1, 0));
	UNTOUCHED();
}

TEST_F(refusals, mprotect)
{
	for (int prot = 0; prot <= RWX; prot++) {
		/* What is executable is for the region to say. */
		int error = prot & PROT_EXEC ? EACCES : EINVAL;

		REFUSED(error, mprotect(self->map, 2 * SLOT, prot));
		REFUSED(error, mprotect(self->map, psize, prot));
		REFUSED(error, mprotect(self->map + SLOT, SLOT, prot));
		EXPECT_EQ(-1, syscall(__NR_pkey_mprotect, self->map, 2 * SLOT,
				      prot, -1));
	}
	EXPECT_EQ(-1, syscall(__NR_pkey_mprotect, self->map, psize, RW, 1));
	UNTOUCHED();
	EXPECT_EQ(0, do_write((long)self->map, mix(1, 0), 0));
}

TEST_F(refusals, mprotect_of_read_only)
{
	int ro = reopen(self->fd, O_RDONLY);
	char *map = region_attach(ro, NULL, PROT_READ), *map2;

	ASSERT_NE(MAP_FAILED, map);
	map2 = region_attach(self->fd, NULL, PROT_READ);
	ASSERT_NE(MAP_FAILED, map2);
	EXPECT_EQ(-1, mprotect(map, 2 * SLOT, RW));
	EXPECT_TRUE(errno == EACCES || errno == EINVAL);
	REFUSED(EINVAL, mprotect(map2, 2 * SLOT, RW));
	EXPECT_EQ(SIG(SIGSEGV), do_write((long)map, 9, 0));
	EXPECT_EQ(SIG(SIGSEGV), do_write((long)map2, 9, 0));
	EXPECT_EQ(0, munmap(map, 2 * SLOT));
	EXPECT_EQ(0, munmap(map2, 2 * SLOT));
	UNTOUCHED();
}

TEST_F(refusals, mremap)
{
	char *other = mmap(NULL, 4 * psize, RW, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	char *far = self->map - 2 * SLOT;

	ASSERT_NE(MAP_FAILED, other);
	/* Shrink, grow, move, copy. */
	REFUSED(EINVAL, mremap(self->map, 2 * SLOT, SLOT, 0));
	REFUSED(EINVAL, mremap(self->map, 2 * SLOT, psize, MREMAP_MAYMOVE));
	EXPECT_EQ(MAP_FAILED, mremap(self->map, 2 * SLOT, 3 * SLOT, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mremap(self->map, 2 * SLOT, 3 * SLOT,
				     MREMAP_MAYMOVE));
	EXPECT_EQ(EINVAL, errno);
	REFUSED(EINVAL, mremap(self->map, 2 * SLOT, 2 * SLOT,
			       MREMAP_MAYMOVE | MREMAP_FIXED, far));
	REFUSED(EINVAL, mremap(self->map, SLOT, SLOT,
			       MREMAP_MAYMOVE | MREMAP_FIXED, far));
	REFUSED(EINVAL, mremap(self->map + psize, psize, psize,
			       MREMAP_MAYMOVE | MREMAP_FIXED, far));
	REFUSED(EINVAL, mremap(self->map, 0, 2 * SLOT, MREMAP_MAYMOVE));
	REFUSED(EINVAL, mremap(self->map, 0, psize,
			       MREMAP_MAYMOVE | MREMAP_FIXED, far));
#ifdef MREMAP_DONTUNMAP
	REFUSED(EINVAL, mremap(self->map, 2 * SLOT, 2 * SLOT,
			       MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
#endif
	/* Something else onto a part of it. */
	REFUSED(EINVAL, mremap(other, psize, psize,
			       MREMAP_MAYMOVE | MREMAP_FIXED, self->map));
	REFUSED(EINVAL, mremap(other, psize, 4 * psize,
			       MREMAP_MAYMOVE | MREMAP_FIXED,
			       self->map + SLOT));
	UNTOUCHED();
	EXPECT_FALSE(is_mapped(far));
}

TEST_F(refusals, madvise)
{
	static const struct { int advice; const char *name; } bad[] = {
		{ MADV_NORMAL, "NORMAL" }, { MADV_RANDOM, "RANDOM" },
		{ MADV_SEQUENTIAL, "SEQUENTIAL" }, { MADV_WILLNEED, "WILLNEED" },
		{ MADV_DONTNEED, "DONTNEED" }, { MADV_FREE, "FREE" },
		{ MADV_REMOVE, "REMOVE" }, { MADV_DODUMP, "DODUMP" },
		{ MADV_MERGEABLE, "MERGEABLE" },
		{ MADV_UNMERGEABLE, "UNMERGEABLE" },
		{ MADV_HUGEPAGE, "HUGEPAGE" }, { MADV_NOHUGEPAGE, "NOHUGEPAGE" },
		{ MADV_WIPEONFORK, "WIPEONFORK" },
		{ MADV_KEEPONFORK, "KEEPONFORK" },
		{ MADV_COLD, "COLD" }, { MADV_PAGEOUT, "PAGEOUT" },
		{ MADV_DONTNEED_LOCKED, "DONTNEED_LOCKED" },
		{ MADV_COLLAPSE, "COLLAPSE" },
	};
	static const int good[] = { MADV_DONTFORK, MADV_DOFORK, MADV_DONTDUMP };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-1, madvise(self->map, 2 * SLOT, bad[i].advice)) {
			TH_LOG("MADV_%s", bad[i].name);
		}
		EXPECT_EQ(EINVAL, errno) {
			TH_LOG("MADV_%s: %s", bad[i].name, strerror(errno));
		}
		EXPECT_EQ(-1, madvise(self->map, psize, bad[i].advice)) {
			TH_LOG("MADV_%s of a page", bad[i].name);
		}
		EXPECT_EQ(EINVAL, errno) {
			TH_LOG("MADV_%s of a page: %s", bad[i].name,
			       strerror(errno));
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		EXPECT_EQ(0, madvise(self->map, 2 * SLOT, good[i])) {
			TH_LOG("advice %d", good[i]);
		}
	}
	/* Not of a part: a VMA is one. */
	REFUSED(EINVAL, madvise(self->map, SLOT, MADV_DONTFORK));
	REFUSED(EINVAL, madvise(self->map + psize, psize, MADV_DONTFORK));
	EXPECT_EQ(0, madvise(self->map, self->size, MADV_POPULATE_READ));
	EXPECT_EQ(0, madvise(self->map + SLOT, self->size, MADV_POPULATE_WRITE));
	/* Holes are holes. */
	EXPECT_EQ(-1, madvise(self->map, SLOT, MADV_POPULATE_READ));
	UNTOUCHED();
}

TEST_F(refusals, process_madvise)
{
	static const int advices[] = {
		MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_COLLAPSE,
	};
	struct iovec iov = { self->map, 2 * SLOT };
	int pidfd = syscall(__NR_pidfd_open, getpid(), 0);

	ASSERT_LE(0, pidfd);
	for (size_t i = 0; i < ARRAY_SIZE(advices); i++) {
		REFUSED(EINVAL, syscall(__NR_process_madvise, pidfd, &iov, 1,
					advices[i], 0));
	}
	/* From outside. */
	pidfd = syscall(__NR_pidfd_open, self->peer.pid, 0);
	for (size_t i = 0; i < ARRAY_SIZE(advices); i++) {
		EXPECT_EQ(-1, syscall(__NR_process_madvise, pidfd, &iov, 1,
				      advices[i], 0));
	}
	UNTOUCHED();
}

TEST_F(refusals, remap_file_pages)
{
	unsigned int attachments;

	REFUSED(EINVAL, syscall(__NR_remap_file_pages, self->map, psize, 0, 1,
				0));
	UNTOUCHED();
	/* All of it to where it is: that is a new attachment in its place. */
	attachments = region_info(self->fd).attachments;
	EXPECT_EQ(0, syscall(__NR_remap_file_pages, self->map, 2 * SLOT, 0, 0,
			     0));
	EXPECT_EQ(attachments, region_info(self->fd).attachments);
	UNTOUCHED();
}

TEST_F(refusals, mlock)
{
	long locked = status_of(getpid(), "VmLck");

	/* They pass it by, as they do other special mappings. */
	EXPECT_EQ(0, mlock(self->map, self->size));
	/* There are holes, which cannot be filled. */
	REFUSED(ENOMEM, mlock(self->map, 2 * SLOT));
	EXPECT_EQ(locked, status_of(getpid(), "VmLck"));
	EXPECT_EQ(locked, status_of(getpid(), "VmLck"));
	EXPECT_EQ(0, mlockall(MCL_CURRENT | MCL_FUTURE));
	EXPECT_EQ(0, smaps_of(getpid(), self->map, "Locked", NULL, 0));
	EXPECT_EQ(0, munlock(self->map, psize));
	EXPECT_EQ(0, munlockall());
	EXPECT_EQ(0, munmap(self->map, 2 * SLOT));
	EXPECT_EQ(0, mlockall(MCL_FUTURE | MCL_ONFAULT));
	ASSERT_EQ(self->map, region_attach(self->fd, self->map, RW));
	EXPECT_EQ(0, munlockall());
	UNTOUCHED();
}

TEST_F(refusals, mbind)
{
	unsigned long nodes = 1;
	int policy = -1;

	if (syscall(__NR_get_mempolicy, &policy, NULL, 0, NULL, 0) < 0 &&
	    errno == ENOSYS)
		SKIP_REST(return, "no NUMA in this kernel");
	REFUSED(EINVAL, syscall(__NR_mbind, self->map, 2 * SLOT, MPOL_BIND,
				&nodes, 64, 0));
	REFUSED(EINVAL, syscall(__NR_mbind, self->map, 2 * SLOT, MPOL_PREFERRED,
				&nodes, 64, MPOL_MF_MOVE));
	REFUSED(EINVAL, syscall(__NR_mbind, self->map, 2 * SLOT, MPOL_BIND,
				&nodes, 64, MPOL_MF_MOVE | MPOL_MF_STRICT));
	REFUSED(EINVAL, syscall(__NR_mbind, self->map, SLOT, MPOL_BIND, &nodes,
				64, 0));
	REFUSED(EINVAL, syscall(__NR_mbind, self->map, psize, MPOL_INTERLEAVE,
				&nodes, 64, 0));
	UNTOUCHED();
}

TEST_F(refusals, move_pages)
{
	void *pages[3] = { self->map, self->map + SLOT, self->map + SLOT / 2 };
	int nodes[3] = { 0, 0, 0 }, status[3] = { 99, 99, 99 };
	unsigned long from = 1, to = 1;
	long result;

	result = syscall(__NR_move_pages, 0, 3, pages, nodes, status,
			 MPOL_MF_MOVE);
	if (result < 0 && errno == ENOSYS)
		SKIP_REST(return, "no NUMA in this kernel");
	for (int i = 0; i < 3; i++) {
		EXPECT_TRUE(status[i] == -EFAULT || status[i] == -ENOENT) {
			TH_LOG("page %d: %d", i, status[i]);
		}
	}
	EXPECT_EQ(-EFAULT, status[0]);
	result = syscall(__NR_move_pages, self->peer.pid, 3, pages, nodes,
			 status, MPOL_MF_MOVE_ALL);
	EXPECT_EQ(-EFAULT, status[0]);
	syscall(__NR_migrate_pages, self->peer.pid, 64, &from, &to);
	UNTOUCHED();
}

TEST_F(refusals, userfaultfd)
{
	static const int modes[] = {
		UFFDIO_REGISTER_MODE_MISSING, UFFDIO_REGISTER_MODE_WP,
		UFFDIO_REGISTER_MODE_MINOR,
	};
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_copy copy = {
		.dst = (uintptr_t)self->map + SLOT / 2,
		.src = (uintptr_t)self->map,
		.len = psize,
	};
	int uffd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (uffd < 0)
		SKIP_REST(return, "no userfaultfd in this kernel");
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_API, &api));
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		struct uffdio_register reg = {
			.range = { (uintptr_t)self->map, 2 * SLOT },
			.mode = modes[i],
		};

		REFUSED(EINVAL, ioctl(uffd, UFFDIO_REGISTER, &reg));
		reg.range.len = psize;
		REFUSED(EINVAL, ioctl(uffd, UFFDIO_REGISTER, &reg));
	}
	EXPECT_EQ(-1, ioctl(uffd, UFFDIO_COPY, &copy));
	close(uffd);
	UNTOUCHED();
}

/* Marks in page tables that several share are nobody's to reset. */
TEST_F(refusals, clear_refs)
{
	char path[64], command[2] = "0";
	uint64_t entry[2] = {}, *soft_dirty = entry;
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	long referenced;

	if (access("/proc/self/clear_refs", F_OK))
		SKIP_REST(return, "no clear_refs in this kernel");
	referenced = smaps_of(getpid(), self->map, "Referenced", NULL, 0);
	EXPECT_EQ(2 * self->size / KIB, referenced);
	ASSERT_EQ(8, pread(pagemap, &entry[0], 8, (uintptr_t)self->map / psize *
			   8));
	for (int i = 1; i <= 5; i++) {
		command[0] = '0' + i;
		EXPECT_EQ(0, write_file("/proc/self/clear_refs", command));
		snprintf(path, sizeof(path), "/proc/%d/clear_refs",
			 self->peer.pid);
		EXPECT_EQ(0, write_file(path, command));
	}
	EXPECT_EQ(referenced, smaps_of(getpid(), self->map, "Referenced", NULL,
				       0));
	ASSERT_EQ(8, pread(pagemap, &entry[1], 8, (uintptr_t)self->map / psize *
			   8));
	EXPECT_EQ(soft_dirty[0], soft_dirty[1]);
	UNTOUCHED();
}

/*
 * PM_SCAN_WP protects what it finds, with the help of a userfaultfd. There is
 * none on an attachment, so either nothing is found or it is an error.
 */
TEST_F(refusals, pagemap_scan)
{
	struct page_region regions[8];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = (uintptr_t)self->map,
		.end = (uintptr_t)self->map + 2 * SLOT,
		.vec = (uintptr_t)regions,
		.vec_len = 8,
		.category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT,
	};
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	long found;

	ASSERT_LE(0, pagemap);
	if (ioctl(pagemap, PAGEMAP_SCAN, &arg) < 0 && errno == ENOTTY)
		SKIP_REST(return, "no PAGEMAP_SCAN in this kernel");
	arg.flags = PM_SCAN_WP_MATCHING;
	found = ioctl(pagemap, PAGEMAP_SCAN, &arg);
	EXPECT_TRUE(found <= 0) {
		TH_LOG("%ld ranges", found);
	}
	/* With the counting of written pages, too. */
	arg.category_mask = 0;
	arg.category_anyof_mask = PAGE_IS_WRITTEN | PAGE_IS_PRESENT;
	arg.return_mask = PAGE_IS_WRITTEN;
	found = ioctl(pagemap, PAGEMAP_SCAN, &arg);
	EXPECT_TRUE(found <= 0) {
		TH_LOG("%ld ranges", found);
	}
	EXPECT_EQ(0, rewrite((long)self->map, self->size, 0));
	UNTOUCHED();
}

/* To look is allowed, and what is seen is so. */
TEST_F(refusals, looking)
{
	unsigned char core[PAGES + 4] = {};
	uint64_t entries[PAGES + 4] = {};
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	EXPECT_EQ(0, mincore(self->map, (PAGES + 4) * psize, core));
	for (int i = 0; i < PAGES + 4; i++) {
		EXPECT_EQ(i < PAGES, core[i] & 1) {
			TH_LOG("page %d", i);
		}
	}
	ASSERT_EQ(sizeof(entries), pread(pagemap, entries, sizeof(entries),
					 (uintptr_t)self->map / psize * 8));
	for (int i = 0; i < PAGES + 4; i++) {
		EXPECT_EQ(i < PAGES, entries[i] >> 63) {
			TH_LOG("page %d", i);
		}
	}
	EXPECT_EQ(0, msync(self->map, 2 * SLOT, MS_SYNC));
	EXPECT_EQ(0, msync(self->map, psize, MS_ASYNC));
	EXPECT_EQ(0, msync(self->map, psize, MS_SYNC | MS_INVALIDATE));
	UNTOUCHED();
}

TEST_F(refusals, brk_and_stack_go_round_it)
{
	/* A new mapping without an address never lands in a window. */
	for (int i = 0; i < 64; i++) {
		char *map = mmap(NULL, 16 * MIB, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		ASSERT_NE(MAP_FAILED, map);
		EXPECT_TRUE(map + 16 * MIB <= self->map ||
			    map >= self->map + 2 * SLOT);
	}
	UNTOUCHED();
}

/* ---- what would have to hear of each change ----------------------------- */

TEST_F(refusals, attach_beside_a_machine)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm;
	void *map;

	if (kvm < 0)
		SKIP_REST(return, "no /dev/kvm");
	ASSERT_EQ(0, munmap(self->map, 2 * SLOT));
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	ASSERT_LE(0, vm) {
		TH_LOG("KVM_CREATE_VM: %s", strerror(errno));
	}
	map = region_attach(self->fd, self->map, RW);
	EXPECT_EQ(MAP_FAILED, map);
	EXPECT_EQ(EOPNOTSUPP, errno);
	map = region_attach(self->fd, NULL, PROT_READ);
	EXPECT_EQ(MAP_FAILED, map);
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(1, region_info(self->fd).attachments);
	/* Others are not concerned. */
	EXPECT_EQ(0, peer_call(&self->peer, do_check, (long)self->map,
			       self->size, 1));
	close(vm);
	/* Unregistered when the last reference goes, which may be a little later. */
	for (int i = 0; i < 1000; i++) {
		map = region_attach(self->fd, self->map, RW);
		if (map != MAP_FAILED || errno != EOPNOTSUPP)
			break;
		usleep(10000);
	}
	/* Or never, with this mm: then it is said, still. */
	if (map == MAP_FAILED) {
		EXPECT_EQ(EOPNOTSUPP, errno);
		note("a process that had a machine once cannot attach");
	}
}

static long create_machine(long kvm, long unused, long unused2)
{
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);

	return vm < 0 ? -errno : vm;
}

static long detach_and_create(long kvm, long map, long size)
{
	munmap((void *)map, size);
	return create_machine(kvm, 0, 0) < 0;
}

TEST_F(refusals, machine_beside_an_attachment)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	long result;

	if (kvm < 0)
		SKIP_REST(return, "no /dev/kvm");
	result = create_machine(kvm, 0, 0);
	EXPECT_GT(0, result);
	note("KVM_CREATE_VM in an attacher: %s", strerror(-result));
	UNTOUCHED();
	/* The attachment is the reason. */
	EXPECT_EQ(0, in_child(detach_and_create, kvm, (long)self->map,
			      2 * SLOT));
}

TEST_HARNESS_MAIN
