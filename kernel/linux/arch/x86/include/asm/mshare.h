/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_X86_MSHARE_H
#define _ASM_X86_MSHARE_H

#include <linux/cpumask.h>
#include <linux/mm_types.h>
#include <linux/smp.h>

#include <asm/pgtable.h>
#include <asm/tlbflush.h>

/*
 * A PUD entry that points to a PMD table of another mm. The processor ANDs the
 * R/W bits of all levels, so one that is clear here makes the whole slot
 * read-only for this mm. pud_bad() tolerates that; it would not tolerate NX.
 */
static inline pud_t mshare_mk_pud(pmd_t *pmd, bool write)
{
	return __pud((write ? _PAGE_TABLE : _PAGE_TABLE & ~_PAGE_RW) | __pa(pmd));
}

/* Only for entries that are tables: every other one on x86 is writable. */
static inline bool mshare_pud_table_writable(pud_t pud)
{
	return pud_flags(pud) & _PAGE_RW;
}

/* What a processor compares with when it is switched to mm; each flush raises it. */
static inline u64 mshare_tlb_generation(struct mm_struct *mm)
{
	return atomic64_read(&mm->context.tlb_gen);
}

/* Could any processor have entries of mm in use? Not to migrate: under a spinlock. */
static inline bool mshare_tlb_in_use(struct mm_struct *mm)
{
	return cpumask_any_but(mm_cpumask(mm), smp_processor_id()) < nr_cpu_ids ||
	       this_cpu_read(cpu_tlbstate.loaded_mm) == mm;
}

/*
 * Have mm's entries flushed by whoever is switched to it next, if that is all
 * there is to do; what flush_tlb_mm_range() comes to for an mm that runs
 * nowhere. Looked at before, for a generation that is raised twice makes a
 * range that is to be flushed into all; and after, for only a processor that
 * was switched to mm later than the generation was raised has seen it
 * (inc_mm_tlb_gen() is a full barrier, and switch_mm_irqs_off() has one between
 * mm_cpumask and the generation).
 */
static inline bool mshare_tlb_defer(struct mm_struct *mm)
{
	if (mshare_tlb_in_use(mm))
		return false;
	inc_mm_tlb_gen(mm);
	return !mshare_tlb_in_use(mm);
}

#endif /* _ASM_X86_MSHARE_H */
