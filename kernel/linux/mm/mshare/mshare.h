/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of mshare know of one another: fs.c has files and names,
 * region.c what is in a region, attach.c attachments, faults and links, flush.c
 * the flushing of attachers.
 */
#ifndef _MM_MSHARE_MSHARE_H
#define _MM_MSHARE_MSHARE_H

#include <linux/fs.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mshare.h>
#include <linux/mutex.h>
#include <linux/sched/mm.h>
#include <linux/spinlock.h>
#include <uapi/linux/msharefs.h>

/*
 * The granule: an attachment links whole PMD tables. Windows, bases and the
 * addresses of attachments are multiples of it.
 */
#define MSHARE_ALIGN		PUD_SIZE

/* Attachments of one region in one mm; one more is -EMFILE. */
#define MSHARE_MAX_PER_MM	16

/* Where offset 0 of a region is in its host mm; not 0, which is no address. */
#define MSHARE_HOST_BASE	PUD_SIZE
#define MSHARE_MAX_WINDOW	((TASK_SIZE_MAX & PUD_MASK) - MSHARE_HOST_BASE)

/**
 * struct mshare_region - a shareable portion of address space
 * @mm: the host mm: the region's page tables and VMAs. NULL until the window is
 *	given, then the same until the inode is evicted. Published with
 *	smp_store_release(); @window and @memory are set before. The region's
 *	one mm_users reference keeps it, and the inode keeps the region: an
 *	attachment holds the inode by its vm_file, an ioctl by its file.
 * @memory: the shmem file that anonymous mappings are of; its page offsets are
 *	the region's. In no process's reach.
 * @window: bytes
 * @base: where attachments want to be, or 0; protected by @lock
 * @lock: one change of contents at a time, over all of its steps: accounting,
 *	host VMAs, the memory behind them. Taken before any mmap_lock; no fault
 *	and no attachment takes it.
 * @generation: changes so far; protected by @lock
 * @reserved: pages counted against the size of the mount; protected by @lock
 * @sb: where they are counted
 * @memcg: the cgroup the region was created in; the reference is the region's
 * @attach_lock: protects @attachments. Innermost of the locks here: taken
 *	under PTE and PMD locks of the host mm, held while waiting for flush
 *	IPIs, hence never with interrupts off.
 * @attachments: struct mshare_attachment; each entry's mm outlives it
 * @nr_attachments: its length
 * @stale_tables: page tables have been left behind under holes; protected by
 *	mmap_lock of @mm, held for writing
 * @links: PUD entries of attachers that point into @mm
 * @flushes: attachers' TLB generations raised by flushes, which is what they
 *	are about: whoever runs nowhere is flushed as he is switched to
 * @batched: pages unmapped by reclaim whose flush was put off
 */
struct mshare_region {
	struct mm_struct	*mm;
	struct file		*memory;
	unsigned long		window;
	unsigned long		base;
	struct mutex		lock;
	u64			generation;
	unsigned long		reserved;
	struct super_block	*sb;
	struct mem_cgroup	*memcg;
	spinlock_t		attach_lock;
	struct list_head	attachments;
	unsigned int		nr_attachments;
	bool			stale_tables;
	atomic64_t		links;
	atomic64_t		flushes;
	atomic64_t		batched;
};

/**
 * struct mshare_attachment - one VMA with VM_MSHARE
 * @list: in the region's list
 * @mm: the attacher's. Not counted: the entry goes in the VMA's ->close(), which
 *	comes before the mm does.
 * @start: vm_start, which never changes
 */
struct mshare_attachment {
	struct list_head	list;
	struct mm_struct	*mm;
	unsigned long		start;
};

/**
 * struct mshare_inode - what is allocated for every inode of a mount
 * @region: of a region's file; not initialised in others
 * @vfs_inode: what the rest of the kernel knows
 */
struct mshare_inode {
	struct mshare_region	region;
	struct inode		vfs_inode;
};

static inline struct mshare_region *mshare_inode_region(struct inode *inode)
{
	return &container_of(inode, struct mshare_inode, vfs_inode)->region;
}

static inline struct mm_struct *mshare_region_mm(struct mshare_region *region)
{
	/* Pairs with the release in mshare_region_reserve(). */
	return smp_load_acquire(&region->mm);
}

/* fs.c */
bool mshare_is_region(const struct file *file);
int mshare_charge_pages(struct super_block *sb, unsigned long pages);
void mshare_uncharge_pages(struct super_block *sb, unsigned long pages);

/* region.c */
void mshare_region_init(struct mshare_region *region, struct super_block *sb);
void mshare_region_destroy(struct mshare_region *region);
int mshare_region_reserve(struct inode *inode, u64 size, u64 base);
long mshare_ioctl(struct file *file, unsigned int cmd, unsigned long arg);

/* The region's reference to its cgroup keeps that and all ancestors. */
static inline struct mem_cgroup *
mshare_region_memcg(const struct mshare_region *region)
{
	struct mem_cgroup *memcg = region->memcg;

#ifdef CONFIG_MEMCG
	while (memcg && !(memcg->css.flags & CSS_ONLINE))
		memcg = parent_mem_cgroup(memcg);
#endif
	return memcg;
}

/*
 * Charges between begin and end are made to the region's cgroup. If that is at
 * its limit they fail, and nobody is killed: who touches a region may be a
 * stranger to those who would be. They do not nest. Returns what end() wants.
 */
static inline struct mem_cgroup *
mshare_charge_begin(const struct mshare_region *region)
{
	current->in_mshare_charge = 1;
	return set_active_memcg(mshare_region_memcg(region));
}

static inline void mshare_charge_end(struct mem_cgroup *before)
{
	set_active_memcg(before);
	current->in_mshare_charge = 0;
}

/* attach.c */
int mshare_mmap(struct file *file, struct vm_area_struct *vma);
unsigned long mshare_get_unmapped_area(struct file *file, unsigned long addr,
				       unsigned long len, unsigned long pgoff,
				       unsigned long flags);
void mshare_free_stale_tables(struct mshare_region *region);

/* flush.c */
#ifdef CONFIG_MSHARE_DEBUG
extern atomic_t mshare_nr_regions;
extern atomic_t mshare_nr_attachments;
#define mshare_debug_add(counter, n)	atomic_add(n, &mshare_nr_ ## counter)
#else
#define mshare_debug_add(counter, n)	do { } while (0)
#endif

#endif /* _MM_MSHARE_MSHARE_H */
