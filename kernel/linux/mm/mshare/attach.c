// SPDX-License-Identifier: GPL-2.0-only
/*
 * mshare: attachments. A fault in one is resolved in the region's host mm, and
 * the attacher's PUD entry pointed to the host's PMD table.
 *
 * Why the tables that a PUD entry leads to do not go away: while anybody is
 * attached, the host mm unmaps pages but keeps tables (mshare_host_keeps_tables(),
 * khugepaged stays out). An attacher's entries are cleared and flushed before
 * its attachment leaves the list. When the list is empty, tables under holes
 * are freed (mshare_free_stale_tables()); who would attach meanwhile waits for
 * that at the host's mmap_lock.
 *
 * Lock order: mmap_lock or VMA lock of the attacher, then mmap_lock of the host
 * mm (a lockdep class of its own), or a VMA lock of the host, which is only
 * tried for. Then page_table_lock of one or of the other.
 */
#include <linux/elf.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/pgalloc.h>
#include <linux/security.h>
#include <linux/slab.h>

#include <asm/mshare.h>
#include <asm/pgalloc.h>
#include <asm/tlb.h>

#include "mshare.h"

static struct mshare_region *vma_region(struct vm_area_struct *vma)
{
	return mshare_inode_region(file_inode(vma->vm_file));
}

/* ---- faults ------------------------------------------------------------- */

/*
 * The attacher's PUD entry for addr. The tables above it stay while the VMA does,
 * whose lock is held.
 */
static pud_t *attacher_pud(struct vm_area_struct *vma, unsigned long addr)
{
	struct mm_struct *mm = vma->vm_mm;
	p4d_t *p4d = p4d_alloc(mm, pgd_offset(mm, addr), addr);

	return p4d ? pud_alloc(mm, p4d, addr) : NULL;
}

/*
 * Point it at the host's PMD table for haddr, which is made if need be. Once a
 * slot, and not in the way of other faults.
 */
static noinline int link_slot(struct mshare_region *region,
			      struct vm_area_struct *vma, pud_t *pud,
			      unsigned long haddr)
{
	struct mm_struct *host = region->mm;
	spinlock_t *ptl;
	p4d_t *p4d;
	pud_t *hpud;

	p4d = p4d_alloc(host, pgd_offset(host, haddr), haddr);
	hpud = p4d ? pud_alloc(host, p4d, haddr) : NULL;
	if (!hpud || !pmd_alloc(host, hpud, haddr))
		return -ENOMEM;

	ptl = pud_lock(vma->vm_mm, pud);
	if (pud_none(*pud)) {
		/* The table is seen before what points to it, as in pmd_alloc(). */
		smp_wmb();
		set_pud(pud, mshare_mk_pud(pud_pgtable(*hpud),
					   vma->vm_flags & VM_WRITE));
		atomic64_inc(&region->links);
	}
	spin_unlock(ptl);
	return 0;
}

/* What is mapped in the region has the last word on what may be done there. */
static bool access_permitted(struct vm_area_struct *vma, unsigned int flags)
{
	if (flags & FAULT_FLAG_WRITE)
		return vma->vm_flags & VM_WRITE;
	if (flags & FAULT_FLAG_INSTRUCTION)
		return vma->vm_flags & VM_EXEC;
	return vma_is_accessible(vma);
}

static void unlock_vma(struct vm_area_struct *vma, unsigned int flags)
{
	if (flags & FAULT_FLAG_VMA_LOCK)
		vma_end_read(vma);
	else
		mmap_read_unlock(vma->vm_mm);
}

/*
 * Lock the host's VMA the way that the attacher's is locked. A VMA lock of the
 * host is only tried for: falling back to its mmap_lock under the attacher's
 * VMA lock is what the caller's retry does in better order.
 *
 * Returns NULL with *ret set: VM_FAULT_RETRY with the attacher's lock dropped
 * (or kept, for FAULT_FLAG_RETRY_NOWAIT), or VM_FAULT_SIGSEGV with it held.
 */
static struct vm_area_struct *lock_host_vma(struct vm_area_struct *vma,
					    struct mm_struct *host,
					    unsigned long haddr,
					    unsigned int flags, vm_fault_t *ret)
{
	struct vm_area_struct *hvma;

	*ret = VM_FAULT_RETRY;
	if (flags & FAULT_FLAG_VMA_LOCK) {
		hvma = lock_vma_under_rcu(host, haddr);
		if (!hvma)
			vma_end_read(vma);
		return hvma;
	}

	if (flags & FAULT_FLAG_RETRY_NOWAIT) {
		if (!mmap_read_trylock(host))
			return NULL;
	} else if (!(flags & FAULT_FLAG_ALLOW_RETRY)) {
		mmap_read_lock(host);
	} else if (mmap_read_lock_killable(host)) {
		mmap_read_unlock(vma->vm_mm);
		return NULL;
	}

	hvma = vma_lookup(host, haddr);
	if (!hvma) {
		mmap_read_unlock(host);
		*ret = VM_FAULT_SIGSEGV;
	}
	return hvma;
}

/**
 * mshare_fault - resolve a fault in an attachment
 * @vma: the attachment, locked as for handle_mm_fault()
 * @address: where
 * @flags: FAULT_FLAG_*, already judged against @vma
 *
 * The caller believes of a return value that it is about @vma's lock; the host's
 * handler has done to the lock of the host's VMA what it says.
 */
vm_fault_t mshare_fault(struct vm_area_struct *vma, unsigned long address,
			unsigned int flags)
{
	struct mshare_region *region = vma_region(vma);
	struct mm_struct *host = region->mm;
	unsigned long haddr = address - vma->vm_start + MSHARE_HOST_BASE;
	struct mem_cgroup *before;
	struct vm_area_struct *hvma;
	bool dropped;
	vm_fault_t ret;
	pud_t *pud;

	/* This table is the toucher's own, and he pays for it. */
	pud = attacher_pud(vma, address);
	if (!pud)
		return VM_FAULT_OOM;
	hvma = lock_host_vma(vma, host, haddr, flags, &ret);
	if (!hvma)
		return ret;
	if (!access_permitted(hvma, flags)) {
		unlock_vma(hvma, flags);
		return VM_FAULT_SIGSEGV;
	}

	/* The region's are charged where its pages are, whoever is first. */
	before = mshare_charge_begin(region);
	if (pud_none(READ_ONCE(*pud)) && link_slot(region, vma, pud, haddr))
		ret = VM_FAULT_OOM;
	else
		ret = mshare_host_fault(hvma, haddr, flags);
	mshare_charge_end(before);

	if (likely(!(ret & (VM_FAULT_COMPLETED | VM_FAULT_RETRY | VM_FAULT_OOM)))) {
		unlock_vma(hvma, flags);
		return ret;
	}

	/* Either the host's handler has dropped the host's lock, or we do. */
	dropped = ret & VM_FAULT_COMPLETED ||
		  (ret & VM_FAULT_RETRY && !(flags & FAULT_FLAG_RETRY_NOWAIT));
	unlock_vma(dropped ? vma : hvma, flags);

	/*
	 * The region's cgroup cannot pay, and nobody is killed for it: the fault
	 * would be repeated for ever.
	 */
	if (ret & VM_FAULT_OOM)
		ret = (ret & ~VM_FAULT_OOM) | VM_FAULT_SIGBUS;
	return ret;
}

/* ---- unlinking, and when tables may go ---------------------------------- */

/**
 * mshare_unlink - clear the PUD entries of an attachment
 * @tlb: of the attacher; flushed before the VMA is closed
 * @vma: the attachment
 * @start: whole slots are unlinked that this range touches; what is touched
 *	   again is linked again
 * @end: its end
 */
void mshare_unlink(struct mmu_gather *tlb, struct vm_area_struct *vma,
		   unsigned long start, unsigned long end)
{
	struct mm_struct *mm = vma->vm_mm;
	unsigned long addr, next, links = 0;

	for (addr = start & PUD_MASK; addr < end; addr = next) {
		pgd_t *pgd = pgd_offset(mm, addr);
		p4d_t *p4d;
		pud_t *pud;
		spinlock_t *ptl;

		next = pgd_addr_end(addr, end);
		if (pgd_none_or_clear_bad(pgd))
			continue;
		p4d = p4d_offset(pgd, addr);
		/* Folded levels have no end of their own: within that above. */
		next = p4d_addr_end(addr, next);
		if (p4d_none_or_clear_bad(p4d))
			continue;
		for (pud = pud_offset(p4d, addr); addr < next;
		     addr += PUD_SIZE, pud++) {
			if (pud_none(READ_ONCE(*pud)))
				continue;
			ptl = pud_lock(mm, pud);
			pud_clear(pud);
			spin_unlock(ptl);
			/* As good as freed: to this mm the tables are gone. */
			tlb_flush_pte_range(tlb, addr, PUD_SIZE);
			tlb->freed_tables = 1;
			links++;
		}
	}
	if (links)
		atomic64_sub(links, &vma_region(vma)->links);
}

/*
 * Called with the host's mmap_lock held for writing, so that nobody can attach
 * to a region that nobody is attached to. (fork() can add to one that has
 * attachers.)
 */
bool mshare_host_keeps_tables(struct mm_struct *mm)
{
	struct mshare_region *region = mm->mshare;

	/* The last mm_users reference is dropped after the last attachment. */
	if (!mm_is_mshare_host(mm) || !atomic_read(&mm->mm_users))
		return false;

	WRITE_ONCE(region->stale_tables, true);
	/* Pairs with mshare_close(): either it sees this, or we see it gone. */
	smp_mb();
	return READ_ONCE(region->nr_attachments);
}

/*
 * Free the tables that lie under holes, unless somebody is attached. For when
 * the last attachment has gone, and when the region goes.
 */
void mshare_free_stale_tables(struct mshare_region *region)
{
	struct mm_struct *mm = region->mm;
	unsigned long hole = FIRST_USER_ADDRESS;
	struct vm_area_struct *vma;
	struct mmu_gather tlb;
	VMA_ITERATOR(vmi, mm, 0);

	mmap_write_lock(mm);
	if (READ_ONCE(region->nr_attachments) || !region->stale_tables) {
		mmap_write_unlock(mm);
		return;
	}
	region->stale_tables = false;

	tlb_gather_mmu(&tlb, mm);
	for_each_vma(vmi, vma) {
		if (hole < vma->vm_start)
			free_pgd_range(&tlb, hole, vma->vm_start, hole,
				       vma->vm_start);
		hole = vma->vm_end;
	}
	free_pgd_range(&tlb, hole, TASK_SIZE_MAX, hole, USER_PGTABLES_CEILING);
	tlb_finish_mmu(&tlb);
	mmap_write_unlock(mm);
}

/* ---- the VMA ------------------------------------------------------------ */

/*
 * A flush takes its time for each attachment. One for each process is the
 * purpose; without a limit, a single one that may but read could have so many
 * as to hold up everybody who flushes.
 */
static bool has_attached_enough(struct mshare_region *region,
				struct mm_struct *mm)
{
	struct mshare_attachment *attachment;
	unsigned int n = 0;

	spin_lock(&region->attach_lock);
	list_for_each_entry(attachment, &region->attachments, list) {
		if (attachment->mm == mm && ++n == MSHARE_MAX_PER_MM)
			break;
	}
	spin_unlock(&region->attach_lock);
	return n == MSHARE_MAX_PER_MM;
}

static void add_attachment(struct mshare_region *region,
			   struct vm_area_struct *vma,
			   struct mshare_attachment *attachment)
{
	attachment->mm = vma->vm_mm;
	attachment->start = vma->vm_start;
	vma->vm_private_data = attachment;

	spin_lock(&region->attach_lock);
	list_add(&attachment->list, &region->attachments);
	WRITE_ONCE(region->nr_attachments, region->nr_attachments + 1);
	spin_unlock(&region->attach_lock);
	mshare_debug_add(attachments, 1);
}

/* fork(): nothing else copies an attachment. Cannot fail, and is small. */
static void mshare_open(struct vm_area_struct *vma)
{
	struct mshare_attachment *attachment;

	attachment = kmalloc(sizeof(*attachment), GFP_KERNEL | __GFP_NOFAIL);
	add_attachment(vma_region(vma), vma, attachment);
}

/* All entries have been cleared and flushed: callers unmap before they close. */
static void mshare_close(struct vm_area_struct *vma)
{
	struct mshare_attachment *attachment = vma->vm_private_data;
	struct mshare_region *region = vma_region(vma);
	bool last;

	spin_lock(&region->attach_lock);
	list_del(&attachment->list);
	WRITE_ONCE(region->nr_attachments, region->nr_attachments - 1);
	last = !region->nr_attachments;
	spin_unlock(&region->attach_lock);
	mshare_debug_add(attachments, -1);
	kfree(attachment);

	if (!last)
		return;
	smp_mb(); /* pairs with mshare_host_keeps_tables() */
	if (READ_ONCE(region->stale_tables))
		mshare_free_stale_tables(region);
}

static int mshare_may_split(struct vm_area_struct *vma, unsigned long addr)
{
	return -EINVAL;
}

static int mshare_mprotect(struct vm_area_struct *vma, unsigned long start,
			   unsigned long end, unsigned long newflags)
{
	return -EINVAL;
}

/* Every fault has been redirected before it could come here. */
static vm_fault_t mshare_no_fault(struct vm_fault *vmf)
{
	WARN_ON_ONCE(1);
	return VM_FAULT_SIGBUS;
}

#ifdef CONFIG_NUMA
static int mshare_set_policy(struct vm_area_struct *vma, struct mempolicy *pol)
{
	return -EINVAL;
}
#endif

static const struct vm_operations_struct mshare_vm_ops = {
	.open		= mshare_open,
	.close		= mshare_close,
	.may_split	= mshare_may_split,
	.mprotect	= mshare_mprotect,
	.fault		= mshare_no_fault,
#ifdef CONFIG_NUMA
	.set_policy	= mshare_set_policy,
#endif
};

bool mshare_mm_is_attacher(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, 0);

	mmap_assert_locked(mm);
	for_each_vma(vmi, vma)
		if (vma_is_mshare(vma))
			return true;
	return false;
}

/* Before mmap() has unmapped what was at addr, and again when it has not asked. */
static int attachment_check(struct mshare_region *region, unsigned long addr,
			    unsigned long len, unsigned long pgoff)
{
	if (!mshare_region_mm(region))
		return -ENODATA;
	if (pgoff || len != region->window || !IS_ALIGNED(addr, MSHARE_ALIGN))
		return -EINVAL;
	return 0;
}

int mshare_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct mshare_region *region = mshare_inode_region(file_inode(file));
	struct mshare_attachment *attachment;
	int err;

	/* A region in a region, by way of some file system in between. */
	if (mm_is_mshare_host(vma->vm_mm))
		return -EINVAL;
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	err = attachment_check(region, vma->vm_start,
			       vma->vm_end - vma->vm_start, vma->vm_pgoff);
	if (err)
		return err;
	/* The hardware could not keep anybody from reading, once linked. */
	if (!(vma->vm_flags & VM_READ))
		return -EACCES;
	/* Their notifiers would not hear of changes to the region. */
	if (mm_has_notifiers(vma->vm_mm))
		return -EOPNOTSUPP;

	/* Changes only under the mmap_lock, which the caller holds. */
	if (has_attached_enough(region, vma->vm_mm))
		return -EMFILE;

	attachment = kmalloc(sizeof(*attachment), GFP_KERNEL_ACCOUNT);
	if (!attachment)
		return -ENOMEM;
	/* Not while tables are being freed because nobody is attached. */
	if (mmap_read_lock_killable(region->mm)) {
		kfree(attachment);
		return -EINTR;
	}

	/*
	 * NX cannot be in a PUD entry, so that VM_EXEC here would say nothing:
	 * what may be executed is what the region has mapped so.
	 */
	vm_flags_mod(vma, VM_MSHARE | VM_DONTEXPAND | VM_DONTDUMP,
		     VM_EXEC | VM_MAYEXEC);
	vma->vm_ops = &mshare_vm_ops;
	add_attachment(region, vma, attachment);
	mmap_read_unlock(region->mm);
	return 0;
}

static bool range_is_free(unsigned long addr, unsigned long len)
{
	struct vm_area_struct *vma, *prev;

	if (addr < mmap_min_addr || !mmap_address_hint_valid(addr, len))
		return false;
	vma = find_vma_prev(current->mm, addr, &prev);
	return (!vma || addr + len <= vm_start_gap(vma)) &&
	       (!prev || addr >= vm_end_gap(prev));
}

/*
 * The caller's choice if it is a possible one, then the region's base, then any
 * place that is aligned.
 */
unsigned long mshare_get_unmapped_area(struct file *file, unsigned long addr,
				       unsigned long len, unsigned long pgoff,
				       unsigned long flags)
{
	struct mshare_region *region = mshare_inode_region(file_inode(file));
	int err;

	if ((flags & MAP_TYPE) == MAP_PRIVATE)
		return -EINVAL;
	err = attachment_check(region, flags & MAP_FIXED ? addr : 0, len, pgoff);
	if (err)
		return err;
	if (len > TASK_SIZE)
		return -ENOMEM;
	if (flags & MAP_FIXED)
		return addr;

	addr &= PUD_MASK;
	if (addr && range_is_free(addr, len))
		return addr;
	addr = READ_ONCE(region->base);
	if (addr && range_is_free(addr, len))
		return addr;

	/* Wherever the architecture puts a mapping of this task, and aligned. */
	if (len > TASK_SIZE - PUD_SIZE)
		return -ENOMEM;
	addr = mm_get_unmapped_area(current->mm, NULL, 0, len + PUD_SIZE -
				    PAGE_SIZE, 0, flags);
	if (IS_ERR_VALUE(addr))
		return addr;
	return ALIGN(addr, PUD_SIZE);
}
