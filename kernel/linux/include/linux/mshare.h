/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * mshare: page tables that are shared between address spaces.
 *
 * What the rest of mm has to know of it; see
 * Documentation/filesystems/msharefs.rst. Everything here is nothing without
 * CONFIG_MSHARE.
 *
 * Words: the host mm of a region is an mm that no task runs on, and that owns
 * the region's page tables and VMAs. An attachment is a VMA with VM_MSHARE in
 * the mm of an attacher; its PUD entries point to PMD tables of the host.
 */
#ifndef _LINUX_MSHARE_H
#define _LINUX_MSHARE_H

#include <linux/mm_types.h>

struct arch_tlbflush_unmap_batch;
struct mem_cgroup;
struct mmu_gather;

#ifdef CONFIG_MSHARE

/* mm has the page tables of a region: it is no task's. */
static inline bool mm_is_mshare_host(const struct mm_struct *mm)
{
	return unlikely(mm->mshare);
}

/* The tables below this entry are the region's, not those of vma->vm_mm. */
#define vma_is_mshare(vma)	(unlikely((vma)->vm_flags & VM_MSHARE))

/* mm/memory.c: resolve a fault of the host mm; locks as for handle_mm_fault(). */
vm_fault_t mshare_host_fault(struct vm_area_struct *vma, unsigned long address,
			     unsigned int flags);

vm_fault_t mshare_fault(struct vm_area_struct *vma, unsigned long address,
			unsigned int flags);
void mshare_unlink(struct mmu_gather *tlb, struct vm_area_struct *vma,
		   unsigned long start, unsigned long end);
bool mshare_host_keeps_tables(struct mm_struct *mm);
bool mshare_mm_is_attacher(struct mm_struct *mm);

void mshare_flush_attachers(struct mm_struct *mm, unsigned long start,
			    unsigned long end, unsigned int stride_shift,
			    bool freed_tables);
bool mshare_has_attachers(struct mm_struct *mm);
void mshare_batch_attachers(struct arch_tlbflush_unmap_batch *batch,
			    struct mm_struct *mm);

/* What current is having charged is a region's: see mshare_charge_begin(). */
bool mshare_is_charging(void);

/*
 * The cgroup that pays for a region, given its host mm: the one that it was
 * created in, or the nearest ancestor that is still online. get: with a
 * reference; the other is valid for as long as the region is.
 */
struct mem_cgroup *mshare_get_memcg(struct mm_struct *mm);
struct mem_cgroup *mshare_memcg(struct mm_struct *mm);

#else /* !CONFIG_MSHARE */

static inline bool mm_is_mshare_host(const struct mm_struct *mm)
{
	return false;
}

#define vma_is_mshare(vma)	((void)(vma), false)

static inline vm_fault_t mshare_fault(struct vm_area_struct *vma,
				      unsigned long address, unsigned int flags)
{
	return 0;
}

static inline void mshare_unlink(struct mmu_gather *tlb,
				 struct vm_area_struct *vma,
				 unsigned long start, unsigned long end)
{
}

static inline bool mshare_host_keeps_tables(struct mm_struct *mm)
{
	return false;
}

static inline bool mshare_mm_is_attacher(struct mm_struct *mm)
{
	return false;
}

static inline void mshare_flush_attachers(struct mm_struct *mm,
					  unsigned long start,
					  unsigned long end,
					  unsigned int stride_shift,
					  bool freed_tables)
{
}

static inline bool mshare_has_attachers(struct mm_struct *mm)
{
	return false;
}

static inline void mshare_batch_attachers(struct arch_tlbflush_unmap_batch *batch,
					  struct mm_struct *mm)
{
}

static inline bool mshare_is_charging(void)
{
	return false;
}

static inline struct mem_cgroup *mshare_get_memcg(struct mm_struct *mm)
{
	return NULL;
}

static inline struct mem_cgroup *mshare_memcg(struct mm_struct *mm)
{
	return NULL;
}

#endif /* CONFIG_MSHARE */
#endif /* _LINUX_MSHARE_H */
