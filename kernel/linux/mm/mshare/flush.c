// SPDX-License-Identifier: GPL-2.0-only
/*
 * mshare: flushing the TLBs of a region's attachers.
 *
 * A change of the host mm's page tables is a change of every attacher's. The
 * architecture calls here from its flush of an mm, so that every change comes
 * by, under the lock of the page table that was changed or before pages are
 * freed. Each attacher's own generation is raised, running or not: a processor
 * that has run it keeps entries tagged with its PCID after switching away, and
 * the generation is what tells the next switch to flush them.
 */
#include <linux/debugfs.h>
#include <linux/mmu_notifier.h>
#include <linux/pgtable.h>
#include <linux/swap.h>

#include <asm/mshare.h>
#include <asm/tlbflush.h>

#include "mshare.h"

#ifdef CONFIG_MSHARE_DEBUG
atomic_t mshare_nr_regions;
atomic_t mshare_nr_attachments;

/* The tests' control: what if nobody flushed? */
static bool no_flush;

static int __init mshare_debug_init(void)
{
	struct dentry *dir = debugfs_create_dir("mshare", NULL);

	debugfs_create_bool("no_flush", 0600, dir, &no_flush);
	debugfs_create_atomic_t("regions", 0400, dir, &mshare_nr_regions);
	debugfs_create_atomic_t("attachments", 0400, dir, &mshare_nr_attachments);
	return 0;
}
late_initcall(mshare_debug_init);

static bool flushes_left_out(void)
{
	return unlikely(READ_ONCE(no_flush));
}
#else
static bool flushes_left_out(void)
{
	return false;
}
#endif

/*
 * Flush [start, end) of a host mm, or all of it if end is TLB_FLUSH_ALL, in all
 * attachers. One IPI for each that runs somewhere else; for those that run
 * nowhere raising the generation is all there is to do.
 *
 * Under the spinlock for as long as the IPIs take: the list cannot change, so
 * that no mm in it can go away, and others that flush this region spin with
 * interrupts on.
 */
void mshare_flush_attachers(struct mm_struct *mm, unsigned long start,
			    unsigned long end, unsigned int stride_shift,
			    bool freed_tables)
{
	struct mshare_region *region = mm->mshare;
	struct mshare_attachment *attachment;
	unsigned int raised = 0;

	if (flushes_left_out())
		return;
	if (end == TLB_FLUSH_ALL) {
		start = MSHARE_HOST_BASE;
		end = MSHARE_HOST_BASE + region->window;
	}

	spin_lock(&region->attach_lock);
	list_for_each_entry(attachment, &region->attachments, list) {
		unsigned long delta = attachment->start - MSHARE_HOST_BASE;
		unsigned long from = start + delta, to = end + delta;
		struct mm_struct *other = attachment->mm;
		u64 generation;

		if (mshare_tlb_defer(other)) {
			mmu_notifier_arch_invalidate_secondary_tlbs(other, from,
								    to);
			raised++;
			continue;
		}
		generation = mshare_tlb_generation(other);
		flush_tlb_mm_range(other, from, to, stride_shift, freed_tables);
		raised += mshare_tlb_generation(other) != generation;
	}
	atomic64_add(raised, &region->flushes);
	spin_unlock(&region->attach_lock);
}

bool mshare_has_attachers(struct mm_struct *mm)
{
	return READ_ONCE(mm->mshare->nr_attachments);
}

/*
 * Reclaim has unmapped a page of the host mm, and will have one IPI sent for
 * many such pages. Note whom to, and raise the generations now: an attacher
 * that is switched to in between must not run on what is stale.
 */
void mshare_batch_attachers(struct arch_tlbflush_unmap_batch *batch,
			    struct mm_struct *mm)
{
	struct mshare_region *region = mm->mshare;
	struct mshare_attachment *attachment;

	if (flushes_left_out())
		return;

	spin_lock(&region->attach_lock);
	list_for_each_entry(attachment, &region->attachments, list)
		arch_tlbbatch_add_pending(batch, attachment->mm, 0);
	spin_unlock(&region->attach_lock);
	atomic64_inc(&region->batched);
}
